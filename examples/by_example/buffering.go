package main

import "fmt"

func main() {
	messages := make(chan string, 2)
	messages <- "buffered"
	messages <- "channel"
	fmt.Println(len(messages), "of", cap(messages))
	fmt.Println(<-messages)
	fmt.Println(<-messages)
}
