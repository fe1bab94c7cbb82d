package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

func fetch(ctx context.Context, page int) error {
	if page == 3 {
		return errors.New("no page 3")
	}
	select {
	case <-time.After(time.Hour):
		return nil
	case <-ctx.Done():
		fmt.Println("page", page, "given up")
		return ctx.Err()
	}
}

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	var group sync.WaitGroup
	start := func(page int) {
		group.Go(func() {
			if err := fetch(ctx, page); err != nil {
				cancel(err) // the first one stays
			}
		})
	}
	start(1)
	time.Sleep(time.Millisecond)
	start(3)
	group.Wait()
	fmt.Println("failed:", context.Cause(ctx))
}
