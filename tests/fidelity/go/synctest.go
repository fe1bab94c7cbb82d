//go:build ignore

// Bubbles of testing/synctest: when time goes on, what Wait waits for, deadlocks.
package main

import (
	"context"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var test *testing.T

// inTest is a scenario that runs in a test, as bubbles must, and then ends the process before the test can say PASS.
func inTest(body func()) func() {
	return func() {
		run := func(t *testing.T) {
			test = t
			body()
			flush()
			os.Exit(0)
		}
		all := func(pat, str string) (bool, error) { return true, nil }
		testing.Main(all, []testing.InternalTest{{Name: "scenario", F: run}}, nil, nil)
	}
}

// bubble runs body in a bubble, and returns what that panicked with.
func bubble(body func()) string {
	return caught(func() { synctest.Test(test, func(*testing.T) { body() }) })
}

func init() {
	add("time_begins_at_midnight", inTest(func() {
		bubble(func() {
			say(time.Now().Unix(), time.Now().UTC().Format(time.RFC3339))
			time.Sleep(10 * time.Hour)
			say(time.Now().Unix(), time.Now().UTC().Format(time.RFC3339))
		})
	}))

	add("sleepers_wake_in_order", inTest(func() {
		bubble(func() {
			for _, n := range []int{5, 1, 4, 2, 3} {
				go func() {
					time.Sleep(time.Duration(n) * time.Hour)
					say(n)
				}()
			}
			time.Sleep(150 * time.Minute)
			synctest.Wait()
			say("half")
			time.Sleep(24 * time.Hour)
			synctest.Wait()
		})
	}))

	add("wait_lets_the_others_run", inTest(func() {
		bubble(func() {
			ch := make(chan int)
			sum := 0
			go func() {
				for v := range ch {
					sum += v
				}
				sum = -1
			}()
			for v := range 4 {
				ch <- v
				synctest.Wait()
				say(sum)
			}
			close(ch)
			synctest.Wait()
			say(sum)
		})
	}))

	add("wait_takes_no_time", inTest(func() {
		bubble(func() {
			start := time.Now()
			fired := false
			time.AfterFunc(time.Second, func() { fired = true })
			synctest.Wait()
			say(fired, time.Since(start) == 0)
			time.Sleep(time.Second)
			synctest.Wait()
			say(fired, time.Since(start) == time.Second)
		})
	}))

	add("context_deadline", inTest(func() {
		bubble(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			time.Sleep(5*time.Second - time.Nanosecond)
			synctest.Wait()
			say(ctx.Err())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			say(ctx.Err())
		})
	}))

	add("ticker_of_an_hour", inTest(func() {
		bubble(func() {
			t := time.NewTicker(time.Minute)
			after := time.After(time.Hour + time.Second)
			n := 0
			for {
				select {
				case <-t.C:
					n++
					continue
				case <-after:
				}
				break
			}
			t.Stop()
			say(n, time.Now().Unix())
		})
	}))

	add("timers_give_the_bubbles_time", inTest(func() {
		bubble(func() {
			say((<-time.After(90 * time.Second)).Unix())
			t := time.NewTimer(time.Second)
			say(t.Stop(), t.Reset(time.Minute))
			say((<-t.C).Unix())
		})
	}))

	add("all_blocked", inTest(func() {
		say(bubble(func() { <-make(chan int) }))
	}))

	add("others_remain", inTest(func() {
		say(bubble(func() {
			go func() { <-make(chan int) }()
		}))
	}))

	add("time_stands_still_once_main_has_returned", inTest(func() {
		slept := false
		say(bubble(func() {
			go func() {
				time.Sleep(time.Second)
				slept = true
			}()
		}))
		say(slept)
	}))

	add("others_end", inTest(func() {
		ended := false
		say(bubble(func() {
			ch := make(chan int)
			go func() {
				<-ch
				ended = true
			}()
			go func() { close(ch) }()
		}) == "", ended)
	}))

	add("wait_group_and_cond", inTest(func() {
		bubble(func() {
			var wg sync.WaitGroup
			var mu sync.Mutex
			cond := sync.NewCond(&mu)
			woken := 0
			for range 3 {
				wg.Add(1)
				go func() {
					defer wg.Done()
					mu.Lock()
					cond.Wait()
					woken++
					mu.Unlock()
				}()
			}
			synctest.Wait()
			cond.Signal()
			synctest.Wait()
			say(woken)
			cond.Broadcast()
			wg.Wait()
			say(woken)
		})
	}))

	add("channels_from_outside_work_without_a_wait", inTest(func() {
		ch := make(chan int, 1)
		bubble(func() {
			ch <- 1
			say(<-ch)
			ch <- 2
		})
		say(<-ch)
	}))

	add("wait_is_for_one", inTest(func() {
		bubble(func() {
			first := make(chan bool)
			go func() {
				first <- refused(synctest.Wait)
			}()
			go func() { first <- refused(synctest.Wait) }()
			a, b := <-first, <-first
			say(a != b)
		})
		say(refused(synctest.Wait))
	}))
}
