package main

import (
	"context"
	"fmt"
	"sync"
)

func main() {
	var stopped sync.WaitGroup
	work := func(ctx context.Context, jobs chan int) {
		select {
		case <-ctx.Done():
			fmt.Println("stopped:", ctx.Err())
		case <-jobs:
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	for range 2 {
		stopped.Go(func() { work(ctx, make(chan int)) })
	}
	cancel()
	stopped.Wait()
}
