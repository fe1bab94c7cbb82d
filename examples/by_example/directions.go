package main

import "fmt"

func ping(pings chan<- string, message string) {
	pings <- message
}

func pong(pings <-chan string, pongs chan<- string) {
	pongs <- <-pings
}

func main() {
	pings, pongs := make(chan string, 1), make(chan string, 1)
	ping(pings, "passed on")
	pong(pings, pongs)
	fmt.Println(<-pongs)
}
