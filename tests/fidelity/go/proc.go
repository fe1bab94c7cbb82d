//go:build ignore

// The scheduler itself: who runs next, Gosched, Goexit, the end of main, GOMAXPROCS, deadlocks, panics.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func fill(n int, body func(i int)) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func() { defer wg.Done(); body(i) }()
	}
	return &wg
}

func waits(ch chan int) { <-ch }

func starts(ch chan int) {
	go waits(ch)
	waits(ch)
}

func begins() {
	ch := make(chan int)
	go starts(ch)
	waits(ch)
}

func init() {
	add("runnext_order", func() { // GOMAXPROCS=1: the newest goroutine first, then those it displaced, in order
		fill(10, func(i int) { say(i) }).Wait()
	})

	add("gosched_order", func() {
		fill(4, func(i int) { say(i) })
		say("main")
		runtime.Gosched()
		say("main again")
	})

	add("gosched_round_robin", func() {
		fill(3, func(i int) {
			for round := 0; round < 6; round++ {
				say(i, round)
				runtime.Gosched()
			}
		}).Wait()
	})

	add("spawn_chain_order", func() { // a goroutine started by a goroutine runs before the older ones in the queue
		done := make(chan bool)
		fill(3, func(i int) {
			say("first", i)
			go func() {
				say("second", i)
				go func() { say("third", i); done <- true }()
			}()
		})
		for i := 0; i < 3; i++ {
			<-done
		}
	})

	add("wake_goes_first", func() { // readied by a send: into runnext
		ch := make(chan int)
		var wg sync.WaitGroup
		wg.Add(4)
		go func() { defer wg.Done(); <-ch; say("woken") }()
		settle()
		for i := 0; i < 3; i++ {
			go func() { defer wg.Done(); say("queued", i) }()
		}
		ch <- 1
		wg.Wait()
	})

	add("queue_overflow", func() { // more than a local queue holds: half of it moves to the global queue
		var mu sync.Mutex
		seen := map[int]bool{}
		fill(1000, func(i int) {
			mu.Lock()
			seen[i] = true
			mu.Unlock()
		}).Wait()
		say(len(seen))
	})

	add("global_queue_is_not_starved", func() { // every 61st turn looks at the global queue first
		links, stop := 0, false
		var link func()
		link = func() {
			if stop || links > 100000 {
				return
			}
			links++
			go link()      // displaced from runnext by the next line: to the tail of the local queue
			go func() {}() // takes runnext
		}
		go link()
		runtime.Gosched() // main waits in the global queue while the local one never runs dry
		stop = true
		say(links < 1000)
	})

	add("goexit_runs_deferred", func() {
		done := make(chan bool)
		go func() {
			defer close(done)
			defer say("outer deferred")
			func() {
				defer say("inner deferred")
				runtime.Goexit()
				say("not reached")
			}()
			say("not reached either")
		}()
		<-done
		say("others go on")
	})

	add("goexit_is_not_recovered", func() {
		done := make(chan bool)
		go func() {
			defer close(done)
			defer func() { say("recovered", recover()) }()
			runtime.Goexit()
		}()
		<-done
	})

	add("main_returns_first", func() {
		for i := 0; i < 5; i++ {
			go func() {
				for {
					time.Sleep(time.Millisecond)
				}
			}()
		}
		ch := make(chan int)
		go func() { <-ch; say("never") }()
		settle()
		say("main is done")
	})

	add("exit_status", func() {
		say("leaving")
		flush()
		os.Exit(7)
	})

	add("num_goroutine", func() {
		ch := make(chan int)
		say(runtime.NumGoroutine())
		for i := 0; i < 3; i++ {
			go func() { <-ch }()
		}
		say(runtime.NumGoroutine())
		settle()
		close(ch)
		settle()
		say(runtime.NumGoroutine())
	})

	add("gomaxprocs_returns_previous", func() {
		say(runtime.GOMAXPROCS(0), runtime.GOMAXPROCS(3), runtime.GOMAXPROCS(0))
		say(runtime.GOMAXPROCS(-1), runtime.GOMAXPROCS(2), runtime.GOMAXPROCS(1), runtime.GOMAXPROCS(0))
	})

	add("max_threads_returns_previous", func() {
		say(debug.SetMaxThreads(5000), debug.SetMaxThreads(1<<40), debug.SetMaxThreads(100))
	})

	add("gomaxprocs_under_load", func() {
		ch := make(chan int)
		total := make(chan int)
		go func() {
			sum := 0
			for v := range ch {
				sum += v
			}
			total <- sum
		}()
		wg := fill(8, func(i int) {
			for j := 0; j < 50; j++ {
				ch <- j
			}
		})
		for _, n := range []int{4, 1, 8, 2, 3, 1} {
			runtime.GOMAXPROCS(n)
			settle()
		}
		wg.Wait()
		close(ch)
		say(<-total)
	})

	add("panic_in_main", func() { panic(errors.New("boom")) })

	add("panic_in_goroutine", func() {
		go func() {
			say("about to panic")
			flush()
			panic(errors.New("boom"))
		}()
		<-make(chan int)
	})

	add("panic_runs_deferred", func() {
		go func() {
			defer flush()
			defer say("deferred")
			panic(errors.New("boom"))
		}()
		<-make(chan int)
	})

	add("panic_recovered", func() {
		fill(3, func(i int) {
			defer func() { say("recovered", recover()) }()
			panic(fmt.Sprint("boom"))
		}).Wait()
	})

	add("panic_send_on_closed", func() {
		ch := make(chan int)
		close(ch)
		ch <- 1
	})

	add("locked_thread_is_not_used_again", func() { // its goroutine has ended without UnlockOSThread
		locked := make(chan int)
		go func() { runtime.LockOSThread(); locked <- syscall.Gettid() }()
		tid := <-locked
		var again atomic.Bool
		fill(50, func(i int) {
			for range 3 {
				if syscall.Gettid() == tid {
					again.Store(true)
				}
				time.Sleep(100 * time.Microsecond)
			}
		}).Wait()
		say("again", again.Load(), "main there", syscall.Gettid() == tid)
	})

	add("deadlock_recv", func() { <-make(chan int) })

	add("deadlock_send", func() { make(chan int) <- 1 })

	add("deadlock_many", func() {
		a, b, c := make(chan int), make(chan int), make(chan int)
		go func() { <-a }()
		go func() { b <- 1 }()
		go func() {
			select { // alone it cannot meet itself
			case <-c:
			case c <- 2:
			}
		}()
		var wg sync.WaitGroup
		wg.Add(1)
		wg.Wait()
	})

	add("deadlock_after_work", func() {
		ch := make(chan int)
		go func() {
			for i := 0; i < 3; i++ {
				ch <- i
			}
		}()
		for v := range ch { // nobody closes it
			say(v)
			flush()
		}
	})

	add("deadlock_names", begins)

	add("goexit_in_main_deadlock", func() {
		go func() { say("other ran"); flush() }()
		runtime.Goexit()
	})

	add("lock_os_thread", func() {
		done := make(chan bool)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			settle()
			done <- true
		}()
		say(<-done)
	})
}
