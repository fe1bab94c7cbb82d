//go:build ignore

// Select: default, nil cases, duplicates, fairness, one channel in both directions, two
// selects meeting, and that a case which did not run consumes nothing.
package main

import (
	"reflect"
	"runtime"
	"sync"
	"time"
)

func init() {
	add("default_recv_empty", func() {
		ch := make(chan int)
		select {
		case <-ch:
			say("recv")
		default:
			say("default")
		}
	})

	add("default_send_full", func() {
		ch := make(chan int, 1)
		for i := 0; i < 2; i++ {
			select {
			case ch <- i:
				say("sent", i)
			default:
				say("default")
			}
		}
		say(<-ch)
	})

	add("default_not_taken_when_ready", func() {
		ch := make(chan int, 100)
		for i := 0; i < 100; i++ {
			ch <- i
		}
		taken := 0
		for i := 0; i < 100; i++ {
			select {
			case <-ch:
			default:
				taken++
			}
		}
		say(taken)
	})

	add("nil_case_never_ready", func() {
		var never chan int
		ch := make(chan int, 1)
		for i := 0; i < 20; i++ {
			ch <- i
			select {
			case <-never:
				say("nil")
			case never <- 1:
				say("nil send")
			case v, ok := <-ch:
				say(v, ok)
			}
		}
	})

	add("nil_case_with_default", func() {
		var never chan int
		select {
		case <-never:
			say("nil")
		default:
			say("default")
		}
	})

	add("nil_case_waits_for_other", func() {
		var never chan int
		ch := make(chan int)
		go func() { ch <- 3 }()
		select {
		case <-never:
			say("nil")
		case v := <-ch:
			say(v)
		}
	})

	add("nil_disables_case", func() { // the merge idiom: a closed source is set to nil
		a, b := make(chan int, 3), make(chan int, 3)
		for i := 0; i < 3; i++ {
			a <- i
			b <- 10 * i
		}
		close(a)
		close(b)
		sum, count := 0, 0
		for a != nil || b != nil {
			select {
			case v, ok := <-a:
				if !ok {
					a = nil
					continue
				}
				sum += v
				count++
			case v, ok := <-b:
				if !ok {
					b = nil
					continue
				}
				sum += v
				count++
			}
		}
		say(sum, count)
	})

	add("single_case", func() {
		ch := make(chan int)
		go func() { ch <- 9 }()
		select {
		case v, ok := <-ch:
			say(v, ok)
		}
	})

	add("closed_is_ready", func() {
		ch, other := make(chan int), make(chan int)
		close(ch)
		select {
		case _, ok := <-ch:
			say("closed", ok)
		case <-other:
			say("other")
		}
	})

	add("send_case_on_closed", func() {
		ch, other := make(chan int), make(chan int)
		close(ch)
		say(caught(func() {
			select {
			case ch <- 1:
				say("sent")
			case <-other:
				say("other")
			}
		}))
	})

	add("close_wakes_select_recv", func() {
		a, b := make(chan int), make(chan int)
		go func() { close(b) }()
		select {
		case <-a:
			say("a")
		case _, ok := <-b:
			say("b", ok)
		}
	})

	add("close_wakes_select_send", func() {
		a, b := make(chan int), make(chan int)
		done := make(chan string)
		go func() {
			done <- caught(func() {
				select {
				case a <- 1:
				case b <- 2:
				}
			})
		}()
		settle()
		close(b)
		say(<-done)
		select { // its place in a's queue is gone with it
		case <-a:
			say("stale sender")
		default:
			say("no sender")
		}
	})

	add("ready_cases_fair", func() { // each of four is binomial(4000, 1/4): mean 1000, sigma 27
		chs := [4]chan int{}
		for i := range chs {
			chs[i] = make(chan int, 4000)
			for j := 0; j < 4000; j++ {
				chs[i] <- j
			}
		}
		counts := [4]int{}
		for i := 0; i < 4000; i++ {
			select {
			case <-chs[0]:
				counts[0]++
			case <-chs[1]:
				counts[1]++
			case <-chs[2]:
				counts[2]++
			case <-chs[3]:
				counts[3]++
			}
		}
		for _, c := range counts {
			say(c > 800 && c < 1200)
		}
	})

	add("duplicate_cases_fair_after_waiting", func() { // the bounds are ten standard deviations
		c, n := make(chan int), 6000
		var won [5]int
		go func() {
			for v := 0; v < n; v++ {
				if v%2 == 0 {
					c <- v
				} else {
					<-c
				}
				runtime.Gosched()
			}
		}()
		for v := 0; v < n; v++ {
			if v%2 == 0 {
				select {
				case <-c:
					won[0]++
				case <-c:
					won[1]++
				case <-c:
					won[2]++
				}
			} else {
				select {
				case c <- 1:
					won[3]++
				case c <- 2:
					won[4]++
				}
			}
		}
		receives, sends := true, true
		for i, w := range won {
			if i < 3 {
				receives = receives && max(w-1000, 1000-w) < 258
			} else {
				sends = sends && max(w-1500, 1500-w) < 274
			}
		}
		say(receives, sends)
	})

	add("duplicate_cases_fair", func() { // binomial(2000, 1/2): mean 1000, sigma 22
		ch := make(chan int, 2000)
		for i := 0; i < 2000; i++ {
			ch <- i
		}
		first, second := 0, 0
		ordered := true
		for i := 0; i < 2000; i++ {
			select {
			case v := <-ch:
				first++
				ordered = ordered && v == i
			case v := <-ch:
				second++
				ordered = ordered && v == i
			}
		}
		say(first > 850, second > 850, first+second, ordered)
	})

	add("duplicate_cases_waiting", func() { // parked twice on one channel, woken once, nothing lost
		ch := make(chan int)
		out := make(chan int, 10)
		go func() {
			for i := 0; i < 10; i++ {
				select {
				case v := <-ch:
					out <- v
				case v := <-ch:
					out <- v
				case v := <-ch:
					out <- v
				}
			}
			close(out)
		}()
		for i := 0; i < 10; i++ {
			settle()
			ch <- i
		}
		for v := range out {
			say(v)
		}
	})

	add("duplicate_send_cases", func() {
		ch := make(chan int)
		go func() {
			for i := 0; i < 20; i++ {
				select {
				case ch <- i:
				case ch <- i:
				}
			}
			close(ch)
		}()
		for v := range ch {
			say(v)
		}
	})

	add("send_and_recv_one_buffered", func() {
		ch := make(chan int, 1)
		for i := 0; i < 8; i++ {
			select {
			case ch <- i:
				say("send", i)
			case v := <-ch:
				say("recv", v)
			}
		}
	})

	add("send_and_recv_one_unbuffered", func() { // a select does not meet itself
		ch := make(chan int)
		select {
		case ch <- 1:
			say("send")
		case <-ch:
			say("recv")
		default:
			say("default")
		}
	})

	add("send_and_recv_one_half_full", func() { // both ready: both happen, the buffer stays in bounds
		ch := make(chan int, 10)
		for i := 0; i < 5; i++ {
			ch <- i
		}
		sends, recvs, bad := 0, 0, 0
		for i := 0; i < 1000; i++ {
			select {
			case ch <- i:
				sends++
			case <-ch:
				recvs++
			}
			if len(ch) != 5+sends-recvs || len(ch) < 0 || len(ch) > 10 {
				bad++
			}
		}
		say(bad, sends > 300, recvs > 300)
	})

	add("two_selects_meet", func() { // each both sends and receives on one unbuffered channel
		ch := make(chan int)
		const rounds = 400
		var mu sync.Mutex
		sent, received, sum := 0, 0, 0
		var wg sync.WaitGroup
		for g := 0; g < 2; g++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := 0; i < rounds; i++ {
					select {
					case ch <- 1:
						mu.Lock()
						sent++
						mu.Unlock()
					case v := <-ch:
						mu.Lock()
						received++
						sum += v
						mu.Unlock()
					}
				}
			}()
		}
		wg.Wait()
		say(sent, received, sum)
	})

	add("two_selects_cross", func() { // two channels, opposite directions: they must agree on one
		a, b := make(chan int), make(chan int)
		const rounds = 300
		left, right := make([]string, 0, rounds), make([]string, 0, rounds)
		var wg sync.WaitGroup
		wg.Add(2)
		go func() {
			defer wg.Done()
			for i := 0; i < rounds; i++ {
				select {
				case a <- i:
					left = append(left, "a")
				case <-b:
					left = append(left, "b")
				}
			}
		}()
		go func() {
			defer wg.Done()
			for i := 0; i < rounds; i++ {
				select {
				case b <- i:
					right = append(right, "b")
				case <-a:
					right = append(right, "a")
				}
			}
		}()
		wg.Wait()
		say(reflect.DeepEqual(left, right), len(left))
	})

	add("ring_of_selects", func() { // five, each sends to the next or receives from the one before
		const n, rounds = 5, 60
		chs := [n]chan int{}
		for i := range chs {
			chs[i] = make(chan int)
		}
		var mu sync.Mutex
		sent, received := 0, 0
		stop := make(chan bool)
		var wg sync.WaitGroup
		for i := 0; i < n; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for {
					select {
					case chs[i] <- i:
						mu.Lock()
						sent++
						mu.Unlock()
					case <-chs[(i+n-1)%n]:
						mu.Lock()
						received++
						mu.Unlock()
					case <-stop:
						return
					}
				}
			}()
		}
		for {
			mu.Lock()
			enough := sent > rounds
			mu.Unlock()
			if enough {
				break
			}
			settle()
		}
		close(stop)
		wg.Wait()
		say(sent == received)
	})

	add("lost_case_keeps_value", func() { // the sender of the case that lost is still there
		a, b := make(chan int), make(chan int)
		go func() { a <- 1 }()
		go func() { b <- 2 }()
		settle()
		sum := 0
		select {
		case v := <-a:
			sum += v
			sum += <-b
		case v := <-b:
			sum += v
			sum += <-a
		}
		say(sum)
	})

	add("lost_buffered_case_keeps_value", func() {
		a, b := make(chan int, 1), make(chan int, 1)
		a <- 1
		b <- 2
		select {
		case <-a:
		case <-b:
		}
		say(len(a) + len(b))
	})

	add("lost_waiting_case_leaves_queue", func() {
		a, b := make(chan int), make(chan int)
		done := make(chan int)
		go func() {
			select {
			case v := <-a:
				done <- v
			case v := <-b:
				done <- v
			}
		}()
		settle()
		a <- 1
		say(<-done)
		select { // nobody waits on b any more
		case b <- 2:
			say("a stale receiver took it")
		default:
			say("no receiver")
		}
	})

	add("select_send_hands_over_once", func() { // two receivers, one select that sends to either
		a, b := make(chan int), make(chan int)
		out := make(chan string, 2)
		go func() { <-a; out <- "one" }()
		go func() { <-b; out <- "one" }()
		settle()
		select {
		case a <- 1:
		case b <- 1:
		}
		settle()
		say(len(out))
	})

	add("fifo_among_selects_and_receivers", func() {
		ch, other := make(chan int), make(chan int)
		out := make(chan [2]int, 6)
		for i := 0; i < 6; i++ {
			go func() {
				if i%2 == 0 {
					out <- [2]int{i, <-ch}
					return
				}
				select {
				case v := <-ch:
					out <- [2]int{i, v}
				case v := <-other:
					out <- [2]int{i, v}
				}
			}()
			settle()
		}
		for i := 0; i < 6; i++ {
			ch <- i
			settle()
		}
		for i := 0; i < 6; i++ {
			v := <-out
			say(v[0], v[1])
		}
	})

	add("hundred_cases", func() {
		const n = 100
		chs := make([]chan int, n)
		cases := make([]reflect.SelectCase, n)
		for i := range chs {
			chs[i] = make(chan int)
			cases[i] = reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(chs[i])}
		}
		go func() {
			for i := n - 1; i >= 0; i-- {
				chs[i] <- i * 2
			}
		}()
		for i := 0; i < n; i++ {
			chosen, v, ok := reflect.Select(cases)
			if i%25 == 0 {
				say(chosen, v.Int(), ok)
			}
		}
	})

	add("timeout_case", func() {
		ch := make(chan int)
		select {
		case <-ch:
			say("value")
		case <-time.After(20 * ms):
			say("timeout")
		}
		go func() { ch <- 1 }()
		select {
		case <-ch:
			say("value")
		case <-time.After(60 * time.Second):
			say("timeout")
		}
	})

	add("fan_in_quit", func() {
		a, b, quit := make(chan int), make(chan int), make(chan bool)
		feed := func(ch chan int, base int) {
			for i := 0; i < 50; i++ {
				ch <- base + i
			}
			quit <- true
		}
		go feed(a, 0)
		go feed(b, 1000)
		sum, quits := 0, 0
		for quits < 2 {
			select {
			case v := <-a:
				sum += v
			case v := <-b:
				sum += v
			case <-quit:
				quits++
			}
		}
		say(sum)
	})

	add("priority_idiom", func() { // a second look with default
		high, low := make(chan int, 5), make(chan int, 5)
		for i := 0; i < 5; i++ {
			high <- i
			low <- 100 + i
		}
		for i := 0; i < 10; i++ {
			select {
			case v := <-high:
				say(v)
				continue
			default:
			}
			select {
			case v := <-high:
				say(v)
			case v := <-low:
				say(v)
			}
		}
	})

	add("select_none", func() { select {} })

	add("select_all_nil", func() {
		var a, b chan int
		select {
		case <-a:
		case b <- 1:
		}
	})

	add("select_deadlock", func() {
		a, b := make(chan int), make(chan int)
		select {
		case <-a:
		case b <- 1:
		}
	})
}
