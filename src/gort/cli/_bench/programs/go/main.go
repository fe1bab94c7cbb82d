// The Go side of the benchmarks: one program, one workload a run.
//
//	bench WORKLOAD N      runs it and prints one JSON line
//	bench --list          prints the version and the workloads
//	bench blocking …      calls that block, see blocking.go
//
// Each workload is the same job, with the same N, as in ../peers/*.py. GOMAXPROCS comes from the
// environment (the harness sets 1). A workload is run once with N/20 to warm up (skynet with a tree a level lower),
// then as often as a quarter of a second takes, and what is printed is time over operations.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"time"
)

// A workload runs n operations and returns how long they took; what it sets up beforehand is not counted.
type workload func(n int) time.Duration

var workloads = map[string]workload{
	"yield":        yield,
	"spawn":        spawn,
	"ping-pong":    pingPong,
	"pipeline-1":   func(n int) time.Duration { return pipeline(n, 1) },
	"pipeline-100": func(n int) time.Duration { return pipeline(n, 100) },
	// Go has no bulk operation: one item at a time.
	"pipeline-bulk": func(n int) time.Duration { return pipeline(n, 1) },
	"select-2":     func(n int) time.Duration { return fanIn(n, 2) },
	"select-4":     func(n int) time.Duration { return fanIn(n, 4) },
	"select-16":    func(n int) time.Duration { return fanIn(n, 16) },
	"mutex":        mutex,
	"lines-10":     func(n int) time.Duration { return lines(n, 10) },
	"lines-100":    func(n int) time.Duration { return lines(n, 100) },
	"lines-1000":   func(n int) time.Duration { return lines(n, 1000) },
	"lines-10000":  func(n int) time.Duration { return lines(n, 10000) },
	"lines-65536":  func(n int) time.Duration { return lines(n, 65536) },
	"timers":       timers,
	"sleepers":     sleepers,
	"skynet":       skynetRun,
	"spawn-scale":  spawnScale,
}

const (
	minimum = 250 * time.Millisecond
	maxRuns = 1000
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--list" {
		names := []string{"memory"}
		for name := range workloads {
			names = append(names, name)
		}
		sort.Strings(names)
		emit(map[string]any{
			"peer": "go", "version": runtime.Version(), "workloads": names, "servers": servers,
		})
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "hello" {
		fmt.Println("hello")
		return
	}
	if len(os.Args) >= 2 && os.Args[1] == "blocking" {
		blocking(os.Args[2:])
		return
	}
	if len(os.Args) >= 2 && os.Args[1] == "load" {
		load(os.Args[2:])
		return
	}
	if len(os.Args) >= 2 && os.Args[1] == "serve" {
		serve(os.Args[2:])
		return
	}
	if len(os.Args) != 3 {
		fail("usage: bench WORKLOAD N | bench --list | bench blocking … | bench load … | bench serve …")
	}
	name := os.Args[1]
	n, err := strconv.Atoi(os.Args[2])
	if err != nil || n < 1 {
		fail("N must be a positive number, not " + os.Args[2])
	}
	if name == "memory" {
		emit(map[string]any{"workload": name, "n": n, "value": memory(n), "unit": "bytes"})
		return
	}
	run, ok := workloads[name]
	if !ok {
		fail("no workload " + name)
	}
	if name == "spawn-scale" {
		run(n) // its point is one size beside another, so each is as warm as the others
	} else if name == "skynet" {
		run(max(n/10, 10)) // the tree needs a power of ten
	} else {
		run(max(n/20, 100))
	}
	var total time.Duration
	runs := 0
	for total < minimum && runs < maxRuns {
		total += run(n)
		runs++
	}
	report(name, n, total, n*runs)
}

func report(name string, n int, took time.Duration, ops int) {
	emit(map[string]any{
		"workload": name, "n": n, "value": float64(took.Nanoseconds()) / float64(ops), "unit": "ns",
		"procs": runtime.GOMAXPROCS(0),
	})
}

func emit(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		fail(err.Error())
	}
	fmt.Println(string(text))
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, "bench: "+text)
	os.Exit(1)
}
