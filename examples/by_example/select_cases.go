package main

import (
	"fmt"
	"time"
)

func send(value string, out chan<- string) {
	time.Sleep(time.Millisecond)
	out <- value
}

func show(north, south <-chan string) {
	select {
	case value := <-north:
		fmt.Println("from the north:", value)
	case value := <-south:
		fmt.Println("from the south:", value)
	}
}

func main() {
	north, south := make(chan string), make(chan string)
	go send("rain", south)
	show(north, south)
	go send("snow", north)
	show(north, south)
}
