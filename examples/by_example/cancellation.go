package main

import (
	"context"
	"fmt"
	"time"
)

func work(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	defer func() {
		time.Sleep(time.Millisecond)
		fmt.Println("cleaned up")
	}()
	select {
	case <-time.After(time.Hour):
	case <-ctx.Done():
	}
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go work(ctx, done)
	time.Sleep(10 * time.Millisecond)
	cancel()
	<-done
	fmt.Println("done: True")
}
