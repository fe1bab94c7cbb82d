package main

import (
	"fmt"
	"syscall"
	"time"
)

func sleeper(done chan<- struct{}) {
	wait := syscall.NsecToTimespec(int64(500 * time.Millisecond))
	syscall.Nanosleep(&wait, nil) // blocks this thread
	close(done)
}

func main() {
	done := make(chan struct{})
	go sleeper(done)
	ticks := 0
	for over := false; !over; {
		time.Sleep(5 * time.Millisecond)
		ticks++
		select {
		case <-done:
			over = true
		default:
		}
	}
	if ticks > 3 {
		fmt.Println("the ticks went on")
	}
}
