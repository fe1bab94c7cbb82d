package main

import (
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"time"
)

// What ../peers/blocking_.py says: goroutines that each make 40 calls that block their thread, again and again for runMs,
// beside ten tickers of 10 ms. time.Sleep would block no thread, so the call is the system's (nap).
const (
	callsEach = 40
	tick      = 10 * time.Millisecond
	tickers   = 10
)

func blocking(arguments []string) {
	if len(arguments) != 3 {
		fail("usage: bench blocking MS GOROUTINES RUN_MS")
	}
	ms, err1 := strconv.ParseFloat(arguments[0], 64)
	goroutines, err2 := strconv.Atoi(arguments[1])
	runMs, err3 := strconv.ParseFloat(arguments[2], 64)
	if err1 != nil || err2 != nil || err3 != nil || goroutines < 1 {
		fail("usage: bench blocking MS GOROUTINES RUN_MS")
	}
	call := time.Duration(ms * float64(time.Millisecond))
	atLeast := time.Duration(runMs * float64(time.Millisecond))

	var mu sync.Mutex // guards late
	var late []time.Duration
	for i := range tickers {
		go func() {
			time.Sleep(time.Duration(i) * tick / tickers)
			for {
				due := time.Now().Add(tick)
				time.Sleep(tick)
				mu.Lock()
				late = append(late, time.Since(due))
				mu.Unlock()
			}
		}()
	}
	noted := func() []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return append([]time.Duration(nil), late...)
	}

	var first, took time.Duration
	runs := 0
	start := time.Now()
	for took < atLeast || len(noted()) == 0 {
		var wg sync.WaitGroup
		wg.Add(goroutines)
		for range goroutines {
			go func() {
				defer wg.Done()
				for range callsEach {
					nap(call)
					runtime.Gosched()
				}
			}()
		}
		wg.Wait()
		runs++
		took = time.Since(start)
		if runs == 1 {
			first = took
		}
	}
	all := noted()
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	inMs := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
	each := float64(goroutines * callsEach)
	emit(map[string]any{
		"who": "go", "value": float64(runs) * each / took.Seconds(), "unit": "calls/s",
		"first": each / first.Seconds(), "p999_ms": inMs(all[len(all)*999/1000]), "worst_ms": inMs(all[len(all)-1]),
		"ticks": len(all), "procs": runtime.GOMAXPROCS(0),
	})
	os.Exit(0) // the tickers still run
}
