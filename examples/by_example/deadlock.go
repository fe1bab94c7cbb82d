package main

import "fmt"

func main() {
	messages := make(chan string)
	fmt.Println("waiting")
	<-messages // nobody will send
}
