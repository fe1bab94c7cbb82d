package main

import "fmt"

func say(word string, before <-chan struct{}, after chan<- struct{}) {
	<-before // until it is closed
	fmt.Println(word)
	close(after)
}

func main() {
	words := []string{"first", "second", "third"}
	var gates [4]chan struct{}
	for i := range gates {
		gates[i] = make(chan struct{})
	}
	for i := 2; i >= 0; i-- {
		go say(words[i], gates[i], gates[i+1])
	}
	close(gates[0])
	<-gates[3]
}
