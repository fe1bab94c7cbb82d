//go:build ignore

// Timers: what Stop and Reset report, no stale values after them (Go 1.23 and later),
// tickers, negative durations, functions run by timers.
package main

import (
	"sync"
	"sync/atomic"
	"time"
)

const far = time.Hour

func init() {
	add("sleep_zero_and_negative", func() {
		start := time.Now()
		time.Sleep(0)
		time.Sleep(-5 * time.Second)
		say(time.Since(start) < time.Second)
	})

	add("sleep_not_early", func() {
		start := time.Now()
		time.Sleep(30 * ms)
		say(time.Since(start) >= 30*ms)
	})

	add("sleeps_until_killed", func() {
		time.Sleep(time.Hour)
	})

	add("after_negative", func() {
		<-time.After(-time.Second)
		<-time.After(0)
		say("fired")
	})

	add("timer_negative", func() {
		t := time.NewTimer(-time.Second)
		<-t.C
		say("fired", t.Stop(), t.Reset(-time.Second))
		<-t.C
		say("fired again")
	})

	add("timer_stop_before", func() {
		t := time.NewTimer(far)
		say(t.Stop(), t.Stop())
	})

	add("timer_stop_after_received", func() {
		t := time.NewTimer(ms)
		<-t.C
		say(t.Stop(), t.Stop())
	})

	add("timer_stop_expired_unreceived", func() {
		t := time.NewTimer(ms)
		time.Sleep(30 * ms)
		say(t.Stop(), t.Stop())
		select {
		case <-t.C:
			say("stale")
		default:
			say("nothing")
		}
	})

	add("timer_reset_results", func() {
		t := time.NewTimer(far)
		say(t.Reset(far))
		say(t.Stop())
		say(t.Reset(ms))
		<-t.C
		say(t.Reset(ms))
		<-t.C
		say(t.Stop())
	})

	add("timer_reset_expired_unreceived", func() {
		t := time.NewTimer(ms)
		time.Sleep(30 * ms)
		say(t.Reset(far))
		select {
		case <-t.C:
			say("stale")
		default:
			say("nothing")
		}
		say(t.Stop())
	})

	add("timer_reset_shorter", func() {
		t := time.NewTimer(far)
		start := time.Now()
		t.Reset(20 * ms)
		<-t.C
		d := time.Since(start)
		say(d >= 20*ms, d < time.Minute)
	})

	add("timer_reset_longer", func() {
		t := time.NewTimer(20 * ms)
		start := time.Now()
		t.Reset(60 * ms)
		<-t.C
		say(time.Since(start) >= 60*ms)
	})

	add("timer_fires_once", func() {
		t := time.NewTimer(ms)
		<-t.C
		select {
		case <-t.C:
			say("twice")
		case <-time.After(30 * ms):
			say("once")
		}
	})

	add("timer_channel_looks_unbuffered", func() {
		t := time.NewTimer(ms)
		time.Sleep(20 * ms)
		say(len(t.C), cap(t.C))
		<-t.C
		say("still delivered")
	})

	add("timer_in_select_loop", func() { // the reset idiom, without draining
		ch := make(chan int)
		go func() {
			for i := 0; i < 3; i++ {
				time.Sleep(5 * ms)
				ch <- i
			}
		}()
		idle := time.NewTimer(time.Hour)
		for {
			select {
			case v := <-ch:
				// A busy machine may need any time for the three values, so only the last leaves little.
				say(v, idle.Reset([]time.Duration{time.Hour, time.Hour, 5 * ms}[v]))
				continue
			case <-idle.C:
				say("idle")
			}
			break
		}
	})

	add("timer_wakes_in_order", func() {
		out := make(chan int, 8)
		base := time.Now().Add(100 * ms)
		for _, n := range []int{5, 1, 7, 3, 0, 6, 2, 4} {
			go func() {
				<-time.After(time.Until(base.Add(time.Duration(n*25) * ms)))
				out <- n
			}()
		}
		woken := []int{}
		for i := 0; i < 8; i++ {
			woken = append(woken, <-out)
		}
		say(inOrder(woken))
	})

	add("timer_shared_by_waiters", func() { // one value for one of them
		t := time.NewTimer(10 * ms)
		var got atomic.Int32
		for i := 0; i < 3; i++ {
			go func() {
				<-t.C
				got.Add(1)
			}()
		}
		time.Sleep(60 * ms)
		say(got.Load())
	})

	add("after_func_runs", func() {
		done := make(chan bool)
		t := time.AfterFunc(5*ms, func() { close(done) })
		<-done
		say(t.Stop())
	})

	add("after_func_stopped", func() {
		var ran atomic.Bool
		t := time.AfterFunc(20*ms, func() { ran.Store(true) })
		say(t.Stop(), t.Stop())
		time.Sleep(50 * ms)
		say(ran.Load())
	})

	add("after_func_reset_runs_again", func() {
		done := make(chan int, 2)
		n := 0
		t := time.AfterFunc(ms, func() { n++; done <- n })
		say(<-done)
		say(t.Reset(ms))
		say(<-done)
	})

	add("after_func_negative", func() {
		done := make(chan bool)
		time.AfterFunc(-time.Second, func() { close(done) })
		<-done
		say("ran")
	})

	add("after_func_may_block", func() { // each runs as a goroutine of its own
		gate := make(chan bool)
		done := make(chan bool)
		time.AfterFunc(ms, func() { <-gate; done <- true })
		time.AfterFunc(20*ms, func() { close(gate) })
		say(<-done)
	})

	add("ticker_ticks", func() {
		start := time.Now()
		t := time.NewTicker(10 * ms)
		for i := 0; i < 5; i++ {
			<-t.C
		}
		say(time.Since(start) >= 50*ms)
		t.Stop()
		select {
		case <-t.C:
			say("tick after stop")
		case <-time.After(40 * ms):
			say("quiet")
		}
	})

	add("ticker_drops_for_slow_receiver", func() {
		t := time.NewTicker(10 * ms)
		time.Sleep(105 * ms)
		<-t.C // one tick was kept, the others were dropped
		got := 0
		for more := true; more; {
			select {
			case <-t.C:
				got++
			default:
				more = false
			}
		}
		t.Stop()
		say(got)
	})

	add("late_receivers_get_the_due_instant", func() {
		start := time.Now()
		timer, ticker := time.NewTimer(10*ms), time.NewTicker(100*ms)
		time.Sleep(400 * ms)
		now, tick := <-timer.C, <-ticker.C
		say(now.Before(start.Add(200*ms)), tick.After(start.Add(50*ms)) && tick.Before(start.Add(250*ms)))
		tick = <-ticker.C
		say(tick.After(start.Add(350 * ms)))
		ticker.Stop()
	})

	add("ticker_stop_drops_pending", func() {
		t := time.NewTicker(5 * ms)
		time.Sleep(30 * ms)
		t.Stop()
		select {
		case <-t.C:
			say("stale")
		default:
			say("nothing")
		}
	})

	add("ticker_reset", func() {
		t := time.NewTicker(far)
		start := time.Now()
		t.Reset(10 * ms)
		<-t.C
		<-t.C
		d := time.Since(start)
		t.Stop()
		say(d >= 20*ms, d < time.Minute)
		t.Reset(5 * ms) // a stopped ticker starts again
		<-t.C
		t.Stop()
		say("again")
	})

	add("ticker_refuses", func() {
		say(refused(func() { time.NewTicker(0) }))
		say(refused(func() { time.NewTicker(-time.Second) }))
		t := time.NewTicker(far)
		say(refused(func() { t.Reset(0) }))
		say(refused(func() { t.Reset(-1) }))
		t.Stop()
	})

	add("sleepers_are_no_deadlock", func() {
		var wg sync.WaitGroup
		for i := 0; i < 3; i++ {
			wg.Add(1)
			go func() { defer wg.Done(); time.Sleep(10 * ms) }()
		}
		wg.Wait()
		say("done")
	})

	add("stopped_timer_is_deadlock", func() {
		t := time.NewTimer(far)
		t.Stop()
		<-t.C
	})
}

// inOrder: as in_order in the Python twin.
func inOrder(woken []int) bool {
	for n := 0; n < len(woken); {
		last := woken[n]
		if last < n {
			return false
		}
		for i := n; i < last; i++ {
			if woken[i+1] != i {
				return false
			}
		}
		n = last + 1
	}
	return true
}
