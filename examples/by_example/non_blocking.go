package main

import "fmt"

func receive(messages <-chan string) {
	select {
	case value := <-messages:
		fmt.Println("received", value)
	default:
		fmt.Println("no message")
	}
}

func send(messages chan<- string, value string) {
	select {
	case messages <- value:
		fmt.Println("sent: True")
	default:
		fmt.Println("sent: False")
	}
}

func main() {
	messages := make(chan string, 1)
	receive(messages)
	send(messages, "hi")
	send(messages, "no room")
	receive(messages)
	receive(messages)
}
