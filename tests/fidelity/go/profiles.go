//go:build ignore

// The block and the mutex profile: where goroutines wait, and who lets them wait. A scenario writes the two profiles
// to the files that are its arguments, and prints how long each of its functions has waited by its own clock.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"
)

// waited has no mutex: the profiles would have it.
var waited = map[string]*atomic.Int64{
	"lookup": {}, "reads": {}, "writes": {}, "receives": {}, "sends": {}, "chooses": {}, "awaits": {},
}

// timed adds what body takes to what the function name has waited.
func timed(name string, body func()) {
	began := time.Now()
	body()
	waited[name].Add(int64(time.Since(began)))
}

func profiled(body func()) func() {
	return func() {
		runtime.SetBlockProfileRate(1)
		runtime.SetMutexProfileFraction(1)
		body()
		for i, name := range []string{"block", "mutex"} {
			f, err := os.Create(os.Args[2+i])
			if err != nil {
				panic(err)
			}
			pprof.Lookup(name).WriteTo(f, 0)
			f.Close()
		}
		for name, took := range waited {
			if took.Load() > 0 {
				fmt.Println(name, took.Load())
			}
		}
	}
}

// begin starts n goroutines, one after another, and waits until each has parked.
func begin(n int, wg *sync.WaitGroup, body func()) {
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			body()
		}()
	}
	time.Sleep(5 * ms)
}

var (
	mu    sync.Mutex
	rw    sync.RWMutex
	cond  = sync.NewCond(&mu)
	ready bool
	ch    = make(chan int)
	full  = make(chan int, 1)
)

func lookup() {
	timed("lookup", mu.Lock)
	time.Sleep(80 * ms)
	mu.Unlock()
}

func reads() {
	timed("reads", rw.RLock)
	time.Sleep(250 * ms)
	rw.RUnlock()
}

func writes() {
	timed("writes", rw.Lock)
	time.Sleep(80 * ms)
	rw.Unlock()
}

func receives() { timed("receives", func() { <-ch }) }

func sends() { timed("sends", func() { full <- 1 }) }

func chooses() {
	timed("chooses", func() {
		select {
		case <-ch:
		case full <- 1:
		}
	})
}

func awaits() {
	mu.Lock()
	timed("awaits", func() {
		for !ready {
			cond.Wait()
		}
	})
	mu.Unlock()
}

func init() {
	add("convoy", profiled(func() {
		var wg sync.WaitGroup
		mu.Lock()
		begin(8, &wg, lookup)
		mu.Unlock()
		wg.Wait()
	}))

	add("readers_and_writers", profiled(func() {
		var wg sync.WaitGroup
		rw.Lock()
		begin(4, &wg, reads)
		time.Sleep(250 * ms)
		rw.Unlock()
		time.Sleep(10 * ms)
		begin(3, &wg, writes)
		wg.Wait()
	}))

	add("channels", profiled(func() {
		var wg sync.WaitGroup
		full <- 0
		begin(3, &wg, receives)
		begin(3, &wg, sends)
		time.Sleep(400 * ms)
		for i := 0; i < 3; i++ {
			ch <- i
			<-full
		}
		begin(2, &wg, chooses)
		time.Sleep(400 * ms)
		close(ch)
		wg.Wait()
	}))

	add("condition", profiled(func() {
		var wg sync.WaitGroup
		begin(4, &wg, awaits)
		time.Sleep(400 * ms)
		mu.Lock()
		ready = true
		cond.Broadcast()
		mu.Unlock()
		wg.Wait()
	}))
}
