package main

import (
	"fmt"
	"time"
)

func refill(tokens chan struct{}, every time.Duration) {
	for range time.Tick(every) {
		select {
		case tokens <- struct{}{}:
		default:
		}
	}
}

func main() {
	tokens := make(chan struct{}, 3)
	for range 3 {
		tokens <- struct{}{}
	}
	start := time.Now()
	go refill(tokens, 10*time.Millisecond)
	for request := 1; request < 6; request++ {
		<-tokens
		fmt.Println("request", request)
	}
	if time.Since(start) > 15*time.Millisecond {
		fmt.Println("the last two had to wait: True")
	}
}
