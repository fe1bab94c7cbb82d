//go:build ignore

// Mutex, RWMutex, WaitGroup, Once, Cond, Pool: results, misuse, who is woken and in which order.
package main

import (
	"runtime"
	"sync"
	"sync/atomic"
)

func init() {
	add("mutex_excludes", func() {
		var mu sync.Mutex
		var wg sync.WaitGroup
		inside, bad, n := 0, 0, 0
		for i := 0; i < 10; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for j := 0; j < 20; j++ {
					mu.Lock()
					inside++
					if inside != 1 {
						bad++
					}
					runtime.Gosched()
					n++
					inside--
					mu.Unlock()
				}
			}()
		}
		wg.Wait()
		say(n, bad)
	})

	add("mutex_try_lock", func() {
		var mu sync.Mutex
		say(mu.TryLock(), mu.TryLock())
		mu.Unlock()
		say(mu.TryLock())
	})

	add("mutex_unlock_by_other", func() { // a lock is not bound to the goroutine that took it
		var mu sync.Mutex
		mu.Lock()
		go func() { mu.Unlock() }()
		mu.Lock()
		say("locked again")
	})

	add("mutex_waiters_fifo", func() { // GOMAXPROCS=1; no waiter is late enough for starvation mode
		var mu sync.Mutex
		var wg sync.WaitGroup
		mu.Lock()
		for i := 0; i < 6; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				mu.Lock()
				say("waiter", i)
				mu.Unlock()
			}()
			settle()
		}
		mu.Unlock()
		wg.Wait()
	})

	add("mutex_unlock_unlocked", func() {
		var mu sync.Mutex
		mu.Unlock()
	})

	add("mutex_double_unlock", func() {
		var mu sync.Mutex
		mu.Lock()
		mu.Unlock()
		say("unlocked once")
		flush()
		mu.Unlock()
	})

	add("mutex_self_deadlock", func() {
		var mu sync.Mutex
		mu.Lock()
		mu.Lock()
	})

	add("rwmutex_readers_share", func() {
		var rw sync.RWMutex
		var wg sync.WaitGroup
		var now, most atomic.Int32
		for i := 0; i < 4; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				rw.RLock()
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				settle()
				now.Add(-1)
				rw.RUnlock()
			}()
		}
		wg.Wait()
		say(most.Load())
	})

	add("rwmutex_writer_excludes", func() {
		var rw sync.RWMutex
		var wg sync.WaitGroup
		readers, writers, bad := 0, 0, 0
		var mu sync.Mutex
		change := func(r, w int) {
			mu.Lock()
			readers += r
			writers += w
			if writers > 1 || writers == 1 && readers > 0 {
				bad++
			}
			mu.Unlock()
		}
		for i := 0; i < 8; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for j := 0; j < 10; j++ {
					if i%4 == 0 {
						rw.Lock()
						change(0, 1)
						runtime.Gosched()
						change(0, -1)
						rw.Unlock()
					} else {
						rw.RLock()
						change(1, 0)
						runtime.Gosched()
						change(-1, 0)
						rw.RUnlock()
					}
				}
			}()
		}
		wg.Wait()
		say(bad, readers, writers)
	})

	add("rwmutex_writer_preference", func() { // a waiting writer holds back new readers
		var rw sync.RWMutex
		var wg sync.WaitGroup
		rw.RLock()
		wg.Add(2)
		go func() {
			defer wg.Done()
			rw.Lock()
			say("writer")
			rw.Unlock()
		}()
		settle()
		go func() {
			defer wg.Done()
			rw.RLock()
			say("late reader")
			rw.RUnlock()
		}()
		settle()
		say("first reader leaves")
		rw.RUnlock()
		wg.Wait()
	})

	add("rwmutex_readers_after_writer", func() { // those held back go together, before the next writer
		var rw sync.RWMutex
		var wg sync.WaitGroup
		rw.Lock()
		for i := 0; i < 3; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				rw.RLock()
				say("reader")
				settle()
				rw.RUnlock()
			}()
			settle()
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			rw.Lock()
			say("second writer")
			rw.Unlock()
		}()
		settle()
		say("first writer leaves")
		rw.Unlock()
		wg.Wait()
	})

	add("g9_rwmutex_readers_in_order", func() { // in which order they run, with and without a writer behind them
		for _, second := range []bool{true, false} {
			var rw sync.RWMutex
			var wg sync.WaitGroup
			rw.Lock()
			for i := 0; i < 3; i++ {
				wg.Add(1)
				go func() {
					defer wg.Done()
					rw.RLock()
					say("reader", i)
					settle()
					rw.RUnlock()
				}()
				settle()
			}
			if second {
				wg.Add(1)
				go func() {
					defer wg.Done()
					rw.Lock()
					say("second writer")
					rw.Unlock()
				}()
				settle()
			}
			rw.Unlock()
			wg.Wait()
		}
	})

	add("rwmutex_try_after_unlock", func() { // a writer that waits for another holds back readers once it runs
		var rw sync.RWMutex
		var wg sync.WaitGroup
		rw.Lock()
		wg.Add(1)
		go func() {
			defer wg.Done()
			rw.Lock()
			say("second writer")
			rw.Unlock()
		}()
		settle()
		say(rw.TryRLock(), rw.TryLock())
		rw.Unlock()
		say(rw.TryRLock(), rw.TryRLock())
		settle()
		say(rw.TryRLock())
		rw.RUnlock()
		rw.RUnlock()
		wg.Wait()
		say(rw.TryLock())
	})

	add("rwmutex_wait_reasons", func() { // what the dump calls the two waits of a writer
		var rw sync.RWMutex
		rw.RLock()
		go func() { rw.Lock() }()
		for rw.TryRLock() {
			rw.RUnlock()
			runtime.Gosched()
		}
		go func() { rw.Lock() }()
		go func() { rw.RLock() }()
		<-make(chan int)
	})

	add("rwmutex_unlock_unlocked", func() {
		var rw sync.RWMutex
		rw.Unlock()
	})

	add("rwmutex_runlock_unlocked", func() {
		var rw sync.RWMutex
		rw.RUnlock()
	})

	add("rwmutex_deadlock", func() { // a reader that reads again behind a waiting writer
		var rw sync.RWMutex
		rw.RLock()
		go func() { rw.Lock() }()
		settle()
		rw.RLock()
	})

	add("waitgroup_basic", func() {
		var wg sync.WaitGroup
		wg.Wait()
		n := 0
		var mu sync.Mutex
		for i := 1; i <= 10; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				mu.Lock()
				n += i
				mu.Unlock()
			}()
		}
		wg.Wait()
		say(n)
	})

	add("waitgroup_go", func() {
		var wg sync.WaitGroup
		var n atomic.Int32
		for i := 0; i < 5; i++ {
			wg.Go(func() { n.Add(1) })
		}
		wg.Wait()
		say(n.Load())
	})

	add("waitgroup_many_waiters", func() {
		var wg, waiters sync.WaitGroup
		wg.Add(2)
		var woken atomic.Int32
		for i := 0; i < 4; i++ {
			waiters.Add(1)
			go func() {
				defer waiters.Done()
				wg.Wait()
				woken.Add(1)
			}()
		}
		settle()
		wg.Done()
		settle()
		say(woken.Load())
		wg.Done()
		waiters.Wait()
		say(woken.Load())
	})

	add("waitgroup_reuse", func() {
		var wg sync.WaitGroup
		for round := 0; round < 3; round++ {
			wg.Add(1)
			go func() { defer wg.Done() }()
			wg.Wait()
			say(round)
		}
	})

	add("waitgroup_negative", func() {
		var wg sync.WaitGroup
		say(caught(func() { wg.Done() }))
		var other sync.WaitGroup
		other.Add(2)
		say(caught(func() { other.Add(-3) }))
	})

	add("waitgroup_negative_uncaught", func() { // a panic; the unlock of an unlocked mutex is a fatal error
		var wg sync.WaitGroup
		wg.Done()
	})

	add("waitgroup_deadlock", func() {
		var wg sync.WaitGroup
		wg.Add(1)
		wg.Wait()
	})

	add("once_runs_once", func() {
		var once sync.Once
		var wg sync.WaitGroup
		var n atomic.Int32
		for i := 0; i < 10; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				once.Do(func() { settle(); n.Add(1) })
				if n.Load() != 1 {
					say("returned before it was done")
				}
			}()
		}
		wg.Wait()
		say(n.Load())
	})

	add("once_panic_counts", func() {
		var once sync.Once
		say(refused(func() { once.Do(func() { panic("first") }) }))
		ran := false
		say(refused(func() { once.Do(func() { ran = true }) }), ran)
	})

	add("once_goexit_counts", func() {
		var once sync.Once
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			once.Do(func() { runtime.Goexit() })
		}()
		wg.Wait()
		ran := false
		once.Do(func() { ran = true })
		say(ran)
	})

	add("once_recursive_deadlock", func() {
		var once sync.Once
		once.Do(func() { once.Do(func() {}) })
	})

	add("cond_signal_fifo", func() {
		var mu sync.Mutex
		c := sync.NewCond(&mu)
		for i := 0; i < 4; i++ {
			go func() {
				mu.Lock()
				c.Wait()
				say("woken", i)
				mu.Unlock()
			}()
			settle()
		}
		for i := 0; i < 4; i++ {
			c.Signal()
			settle()
			say("signalled")
		}
		c.Signal() // nobody waits: nothing is stored
		go func() {
			mu.Lock()
			c.Wait()
			say("never")
		}()
		settle()
	})

	add("cond_broadcast", func() {
		var mu sync.Mutex
		c := sync.NewCond(&mu)
		var wg sync.WaitGroup
		ready, woken := false, 0
		for i := 0; i < 5; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				mu.Lock()
				for !ready {
					c.Wait()
				}
				woken++
				mu.Unlock()
			}()
		}
		settle()
		mu.Lock()
		ready = true
		c.Broadcast()
		mu.Unlock()
		wg.Wait()
		say(woken)
	})

	add("cond_wait_relocks", func() {
		var mu sync.Mutex
		c := sync.NewCond(&mu)
		done := make(chan bool)
		go func() {
			mu.Lock()
			c.Wait()
			say(mu.TryLock())
			mu.Unlock()
			done <- true
		}()
		settle()
		say(mu.TryLock()) // Wait gave it back
		mu.Unlock()
		c.Signal()
		<-done
	})

	add("cond_wait_without_lock", func() {
		go func() { sync.NewCond(new(sync.Mutex)).Wait() }()
		<-make(chan int)
	})

	add("cond_wait_without_rlock", func() {
		sync.NewCond(new(sync.RWMutex).RLocker()).Wait()
	})

	add("cond_deadlock", func() {
		var mu sync.Mutex
		c := sync.NewCond(&mu)
		mu.Lock()
		c.Wait()
	})

	add("pool_returns_what_was_put", func() {
		pool := sync.Pool{New: func() any { return "new" }}
		say(pool.Get())
		pool.Put("used")
		say(pool.Get())
		say(pool.Get())
	})

	add("pool_lets_go_after_two_collections", func() {
		pool := sync.Pool{New: func() any { return "new" }}
		for collections := 0; collections < 4; collections++ {
			pool.Put("used")
			for i := 0; i < collections; i++ {
				runtime.GC()
			}
			say(pool.Get(), pool.Get())
		}
	})
}
