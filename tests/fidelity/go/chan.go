//go:build ignore

// Channels: buffered and unbuffered, full, empty, closed, nil, order of waiters, hand-over.
package main

import (
	"fmt"
	"sync"
)

func init() {
	add("unbuffered_pair", func() {
		ch := make(chan int)
		go func() {
			for i := 0; i < 5; i++ {
				ch <- i
			}
			close(ch)
		}()
		for v := range ch {
			say(v)
		}
		say("end")
	})

	add("unbuffered_len_cap", func() {
		ch := make(chan int)
		go func() { ch <- 1 }()
		settle()
		say(len(ch), cap(ch))
		say(<-ch)
		say(len(ch), cap(ch))
	})

	add("buffered_fill", func() {
		ch := make(chan int, 3)
		for i := 0; i < 5; i++ {
			sent := false
			select {
			case ch <- i:
				sent = true
			default:
			}
			say(i, sent, len(ch), cap(ch))
		}
		for i := 0; i < 3; i++ {
			say(<-ch, len(ch))
		}
	})

	add("try_recv_empty", func() {
		ch := make(chan int, 1)
		for i := 0; i < 2; i++ {
			select {
			case v, ok := <-ch:
				say("got", v, ok)
			default:
				say("empty")
			}
			if i == 0 {
				ch <- 7
				select {
				case v, ok := <-ch:
					say("got", v, ok)
				default:
					say("empty")
				}
			}
		}
	})

	add("try_send_needs_receiver", func() {
		ch := make(chan int)
		try := func(v int) bool {
			select {
			case ch <- v:
				return true
			default:
				return false
			}
		}
		say(try(1))
		var wg sync.WaitGroup
		wg.Add(1)
		go func() { defer wg.Done(); say("got", <-ch) }()
		settle()
		say(try(2))
		say(try(3))
		wg.Wait()
	})

	add("try_recv_needs_sender", func() {
		ch := make(chan int)
		try := func() {
			select {
			case v, ok := <-ch:
				say("got", v, ok)
			default:
				say("none")
			}
		}
		try()
		go func() { ch <- 5; say("sender on") }()
		settle()
		try()
		try()
		settle()
	})

	add("closed_drain", func() {
		ch := make(chan int, 3)
		for i := 1; i <= 3; i++ {
			ch <- i * 10
		}
		close(ch)
		say(len(ch), cap(ch))
		for i := 0; i < 3; i++ {
			v, ok := <-ch
			say(v, ok, len(ch))
		}
		for i := 0; i < 2; i++ {
			_, ok := <-ch
			say("drained", ok)
		}
	})

	add("closed_empty", func() {
		ch := make(chan int)
		close(ch)
		_, ok := <-ch
		say(ok)
		for range ch {
			say("never")
		}
		select {
		case _, ok := <-ch:
			say("ready", ok)
		default:
			say("not ready")
		}
	})

	add("send_on_closed", func() {
		ch := make(chan int, 1)
		close(ch)
		say(caught(func() { ch <- 1 }))
		un := make(chan int)
		close(un)
		say(caught(func() { un <- 1 }))
		full := make(chan int, 1)
		full <- 1
		close(full)
		say(caught(func() { full <- 1 }))
		say(<-full)
	})

	add("try_send_on_closed", func() {
		ch := make(chan int, 1)
		close(ch)
		say(caught(func() {
			select {
			case ch <- 1:
				say("sent")
			default:
				say("default")
			}
		}))
	})

	add("double_close", func() {
		ch := make(chan int)
		close(ch)
		say(caught(func() { close(ch) }))
		_, ok := <-ch
		say(ok)
	})

	add("negative_capacity", func() {
		n := -1
		say(refused(func() { _ = make(chan int, n) }))
		n = 0
		say(refused(func() { _ = make(chan int, n) }))
	})

	add("nil_values", func() {
		ch := make(chan any, 2)
		ch <- nil
		ch <- nil
		v, ok := <-ch
		say(v == nil, ok)
		close(ch)
		v, ok = <-ch
		say(v == nil, ok)
		v, ok = <-ch
		say(v == nil, ok)
	})

	add("fifo_receivers", func() { // order of arrival needs GOMAXPROCS=1
		ch := make(chan int)
		out := make(chan string, 10)
		for i := 0; i < 5; i++ {
			go func() { out <- fmt.Sprint("receiver ", i, " got ", <-ch) }()
			settle()
		}
		for i := 0; i < 5; i++ {
			ch <- i * 100
			settle()
		}
		for i := 0; i < 5; i++ {
			say(<-out)
		}
	})

	add("fifo_senders", func() {
		ch := make(chan int)
		for i := 0; i < 5; i++ {
			go func() { ch <- i }()
			settle()
		}
		for i := 0; i < 5; i++ {
			say(<-ch)
		}
	})

	add("fifo_senders_behind_buffer", func() {
		ch := make(chan int, 2)
		for i := 0; i < 6; i++ {
			go func() { ch <- i; say("sent", i) }()
			settle()
		}
		say(len(ch))
		for i := 0; i < 6; i++ {
			say("got", <-ch, len(ch))
			settle()
		}
	})

	add("direct_handover", func() {
		ch := make(chan int, 1)
		go func() { say("got", <-ch) }()
		settle()
		ch <- 1 // goes to the receiver, not through the buffer
		say(len(ch))
		ch <- 2
		say(len(ch))
		settle()
		say(len(ch))
	})

	add("no_barging", func() { // a value handed to a parked receiver cannot be taken by a later one
		ch := make(chan int, 1)
		go func() { say("parked got", <-ch) }()
		settle()
		ch <- 1
		select {
		case v := <-ch:
			say("main got", v)
		default:
			say("main got nothing")
		}
		settle()
	})

	add("close_wakes_receivers", func() {
		ch := make(chan int)
		var wg sync.WaitGroup
		oks := 0
		var mu sync.Mutex
		for i := 0; i < 7; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, ok := <-ch
				mu.Lock()
				defer mu.Unlock()
				if !ok {
					oks++
				}
			}()
		}
		settle()
		close(ch)
		wg.Wait()
		say(oks)
	})

	add("close_wake_order", func() { // GOMAXPROCS=1: readied from the newest to the oldest, the last one into runnext
		ch := make(chan int)
		for i := 0; i < 6; i++ {
			go func() {
				_, ok := <-ch
				say("receiver", i, ok)
			}()
			settle()
		}
		close(ch)
		settle()
	})

	add("close_wakes_senders", func() {
		ch := make(chan int)
		var wg sync.WaitGroup
		for i := 0; i < 3; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				say(caught(func() { ch <- i }))
			}()
		}
		settle()
		close(ch)
		wg.Wait()
		_, ok := <-ch
		say(ok)
	})

	add("close_full_with_senders", func() {
		ch := make(chan int, 2)
		ch <- 1
		ch <- 2
		var wg sync.WaitGroup
		for i := 0; i < 2; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				say(caught(func() { ch <- 90 + i }))
			}()
		}
		settle()
		close(ch)
		wg.Wait()
		for v := range ch {
			say("kept", v)
		}
	})

	add("range_until_close", func() {
		ch := make(chan int, 4)
		go func() {
			defer close(ch)
			for i := 0; i < 10; i++ {
				ch <- i * i
			}
		}()
		sum := 0
		for v := range ch {
			sum += v
		}
		say(sum)
	})

	add("range_break_keeps_rest", func() {
		ch := make(chan int, 5)
		for i := 0; i < 5; i++ {
			ch <- i
		}
		for v := range ch {
			if v == 2 {
				break
			}
		}
		say(len(ch), <-ch, <-ch)
	})

	add("channel_of_channels", func() {
		type request struct {
			n     int
			reply chan int
		}
		requests := make(chan request)
		go func() {
			for r := range requests {
				r.reply <- r.n * r.n
			}
		}()
		for i := 1; i <= 4; i++ {
			reply := make(chan int)
			requests <- request{i, reply}
			say(<-reply)
		}
		close(requests)
	})

	add("prime_sieve", func() {
		ch := make(chan int)
		go func(out chan int) {
			for i := 2; ; i++ {
				out <- i
			}
		}(ch)
		for i := 0; i < 40; i++ {
			prime := <-ch
			say(prime)
			next := make(chan int)
			go func(in, out chan int) {
				for {
					if v := <-in; v%prime != 0 {
						out <- v
					}
				}
			}(ch, next)
			ch = next
		}
	})

	add("daisy_chain", func() {
		leftmost := make(chan int)
		left := leftmost
		for i := 0; i < 1000; i++ {
			right := make(chan int)
			go func(l, r chan int) { l <- 1 + <-r }(left, right)
			left = right
		}
		go func() { left <- 1 }()
		say(<-leftmost)
	})

	add("ping_pong", func() {
		a, b := make(chan int), make(chan int)
		go func() {
			for v := range a {
				b <- v + 1
			}
			close(b)
		}()
		v := 0
		for i := 0; i < 500; i++ {
			a <- v
			v = <-b
		}
		close(a)
		_, ok := <-b
		say(v, ok)
	})

	add("many_to_many", func() {
		ch := make(chan int, 3)
		sums := make(chan int)
		var wg sync.WaitGroup
		for p := 0; p < 8; p++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := 0; i < 100; i++ {
					ch <- p*100 + i
				}
			}()
		}
		for c := 0; c < 5; c++ {
			go func() {
				sum := 0
				for v := range ch {
					sum += v
				}
				sums <- sum
			}()
		}
		wg.Wait()
		close(ch)
		total := 0
		for c := 0; c < 5; c++ {
			total += <-sums
		}
		say(total)
	})

	add("channel_as_semaphore", func() {
		slots := make(chan struct{}, 3)
		var mu sync.Mutex
		now, most := 0, 0
		var wg sync.WaitGroup
		for i := 0; i < 20; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				slots <- struct{}{}
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				settle()
				mu.Lock()
				now--
				mu.Unlock()
				<-slots
			}()
		}
		wg.Wait()
		say(most <= 3, now)
	})

	add("per_sender_order", func() {
		ch := make(chan [2]int)
		var wg sync.WaitGroup
		for p := 0; p < 4; p++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := 0; i < 50; i++ {
					ch <- [2]int{p, i}
				}
			}()
		}
		go func() { wg.Wait(); close(ch) }()
		next := [4]int{}
		ordered := true
		for v := range ch {
			ordered = ordered && v[1] == next[v[0]]
			next[v[0]]++
		}
		say(ordered, next[0], next[1], next[2], next[3])
	})
}
