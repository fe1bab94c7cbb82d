package main

import "fmt"

func ping(messages chan string) {
	messages <- "ping"
}

func main() {
	messages := make(chan string)
	go ping(messages)
	fmt.Println(<-messages)
}
