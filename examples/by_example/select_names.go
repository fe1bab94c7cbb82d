package main

import (
	"fmt"
	"time"
)

func main() {
	answers := make(chan string, 1)
	answers <- "forty-two"
	for range 2 {
		select {
		case value := <-answers:
			fmt.Println("answer:", value)
		case <-time.After(100 * time.Millisecond):
			fmt.Println("nothing came")
		}
	}
}
