//go:build ignore

// Contexts: errors, cancellation down the tree and not up, deadlines, values.
package main

import (
	"context"
	"sync"
	"time"
)

func isDone(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

func init() {
	add("background", func() {
		ctx := context.Background()
		say(ctx.Err(), isDone(ctx), ctx.Value("k"))
	})

	add("cancel", func() {
		ctx, cancel := context.WithCancel(context.Background())
		say(ctx.Err(), isDone(ctx))
		cancel()
		say(ctx.Err(), isDone(ctx))
		cancel()
		say(ctx.Err(), isDone(ctx))
	})

	add("cancel_wakes_waiters", func() {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for i := 0; i < 5; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				<-ctx.Done()
				say(ctx.Err())
			}()
		}
		settle()
		cancel()
		wg.Wait()
	})

	add("parent_cancels_children", func() {
		parent, cancel := context.WithCancel(context.Background())
		child, cancelChild := context.WithCancel(parent)
		defer cancelChild()
		grand := context.WithValue(child, "k", "v")
		late, cancelLate := context.WithTimeout(grand, time.Hour)
		defer cancelLate()
		say(isDone(child), isDone(grand), isDone(late))
		cancel()
		say(isDone(child), isDone(grand), isDone(late))
		say(child.Err(), grand.Err(), late.Err())
	})

	add("child_leaves_parent", func() {
		parent, cancel := context.WithCancel(context.Background())
		defer cancel()
		child, cancelChild := context.WithCancel(parent)
		sibling, cancelSibling := context.WithCancel(parent)
		defer cancelSibling()
		cancelChild()
		say(isDone(child), isDone(parent), isDone(sibling))
	})

	add("child_of_cancelled", func() {
		parent, cancel := context.WithCancel(context.Background())
		cancel()
		child, cancelChild := context.WithCancel(parent)
		defer cancelChild()
		say(isDone(child), child.Err())
	})

	add("timeout_expires", func() {
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 20*ms)
		defer cancel()
		<-ctx.Done()
		say(ctx.Err(), time.Since(start) >= 20*ms)
	})

	add("timeout_cancelled_first", func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		cancel()
		<-ctx.Done()
		say(ctx.Err())
	})

	add("timeout_negative", func() {
		ctx, cancel := context.WithTimeout(context.Background(), -time.Second)
		defer cancel()
		say(isDone(ctx), ctx.Err())
	})

	add("cancel_after_expiry_keeps_error", func() {
		ctx, cancel := context.WithTimeout(context.Background(), ms)
		<-ctx.Done()
		cancel()
		say(ctx.Err())
	})

	add("parent_deadline_is_earlier", func() {
		parent, cancel := context.WithTimeout(context.Background(), 20*ms)
		defer cancel()
		child, cancelChild := context.WithTimeout(parent, time.Hour)
		defer cancelChild()
		<-child.Done()
		say(child.Err())
	})

	add("child_deadline_is_earlier", func() {
		parent, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		child, cancelChild := context.WithTimeout(parent, 10*ms)
		defer cancelChild()
		<-child.Done()
		say(child.Err(), parent.Err())
	})

	add("values", func() {
		root := context.WithValue(context.Background(), "a", 1)
		ctx, cancel := context.WithCancel(root)
		defer cancel()
		inner := context.WithValue(ctx, "b", 2)
		shadow := context.WithValue(inner, "a", 10)
		say(inner.Value("a"), inner.Value("b"), inner.Value("c"))
		say(shadow.Value("a"), shadow.Value("b"), root.Value("b"))
	})

	add("workers_stop", func() {
		ctx, cancel := context.WithCancel(context.Background())
		work := make(chan int)
		var wg sync.WaitGroup
		var mu sync.Mutex
		sum := 0
		for i := 0; i < 3; i++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for {
					select {
					case v := <-work:
						mu.Lock()
						sum += v
						mu.Unlock()
					case <-ctx.Done():
						return
					}
				}
			}()
		}
		for i := 1; i <= 100; i++ {
			work <- i
		}
		cancel()
		wg.Wait()
		say(sum)
	})
}
