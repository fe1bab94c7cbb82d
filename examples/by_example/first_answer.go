package main

import (
	"fmt"
	"time"
)

func ask(server string, wait time.Duration, answers chan<- string) {
	time.Sleep(wait)
	answers <- server
}

func main() {
	servers := map[string]time.Duration{"north": time.Hour, "south": time.Millisecond, "west": time.Hour}
	answers := make(chan string, len(servers))
	for server, wait := range servers {
		go ask(server, wait, answers)
	}
	fmt.Println("first:", <-answers)
}
