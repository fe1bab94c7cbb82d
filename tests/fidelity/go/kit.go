//go:build ignore

// What the fidelity programs share: a table of named scenarios, run by name, and
// the few helpers that have a twin of the same name in ../py/kit.py.
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

// ms is the unit of all delays in the scenarios.
const ms = time.Millisecond

var scenarios = map[string]func(){}

func add(name string, body func()) { scenarios[name] = body }

var (
	said   bytes.Buffer
	saidMu sync.Mutex
)

// say keeps a line for flush: a write is a system call, and a P may be handed on during one,
// which would make the order of goroutines with GOMAXPROCS=1 depend on the machine's load.
func say(values ...any) {
	saidMu.Lock()
	defer saidMu.Unlock()
	fmt.Fprintln(&said, values...)
}

// flush prints what was said so far. Programs that do not end by returning call it themselves.
func flush() {
	saidMu.Lock()
	defer saidMu.Unlock()
	os.Stdout.Write(said.Bytes())
	said.Reset()
}

// settle lets every other goroutine run until it parks. Exact with GOMAXPROCS=1,
// where Gosched puts the caller behind all that is runnable.
func settle() {
	for i := 0; i < 5; i++ {
		runtime.Gosched()
	}
}

// caught runs body and returns what it panicked with, as text ("" if it did not).
func caught(body func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(r)
		}
	}()
	body()
	return ""
}

// refused says whether body panicked.
func refused(body func()) bool { return caught(body) != "" }

func main() {
	body, ok := scenarios[os.Args[1]]
	if !ok {
		fmt.Fprintln(os.Stderr, "no scenario", os.Args[1])
		os.Exit(64)
	}
	body()
	flush()
}
