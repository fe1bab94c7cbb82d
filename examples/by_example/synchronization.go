package main

import (
	"fmt"
	"time"
)

func prepare(ready chan struct{}) {
	fmt.Println("preparing")
	time.Sleep(10 * time.Millisecond)
	fmt.Println("ready")
	close(ready)
}

func main() {
	ready := make(chan struct{})
	go prepare(ready)
	<-ready
	fmt.Println("going on")
}
