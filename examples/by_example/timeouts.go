package main

import (
	"context"
	"fmt"
	"time"
)

func fetch(wait time.Duration, out chan<- string) {
	time.Sleep(wait)
	out <- "result"
}

func show(name string, ch <-chan string, limit time.Duration) {
	select {
	case value := <-ch:
		fmt.Println(name, value)
	case <-time.After(limit):
		fmt.Println(name, "timeout")
	}
}

func main() {
	slow, fast := make(chan string, 1), make(chan string, 1)
	go fetch(time.Hour, slow)
	show("slow:", slow, 10*time.Millisecond)
	go fetch(time.Millisecond, fast)
	show("fast:", fast, time.Minute)
	// Go cannot limit a block: what waits in it must look at a context.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	select {
	case <-slow:
	case <-ctx.Done():
		fmt.Println("the block took too long")
	}
}
