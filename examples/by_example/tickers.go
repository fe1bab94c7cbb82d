package main

import (
	"fmt"
	"time"
)

func main() {
	ticker := time.NewTicker(5 * time.Millisecond)
	for n := range 3 {
		<-ticker.C
		fmt.Println("tick", n)
	}
	ticker.Stop()
	select {
	case <-ticker.C:
		fmt.Println("another tick")
	case <-time.After(20 * time.Millisecond):
		fmt.Println("stopped")
	}
}
