package main

import (
	"fmt"
	"time"
)

func count(name string, done chan<- string) {
	for i := range 3 {
		time.Sleep(time.Millisecond)
		fmt.Println(name, i)
	}
	done <- name
}

func main() {
	done := make(chan string)
	go count("first", done)
	fmt.Println("ended:", <-done)
	go count("second", done)
	fmt.Println("ended:", <-done)
}
