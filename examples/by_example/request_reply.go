package main

import "fmt"

type request struct {
	number int
	answer chan int
}

func square(requests <-chan request) {
	for r := range requests {
		r.answer <- r.number * r.number
	}
}

func ask(requests chan<- request, number int) int {
	answer := make(chan int, 1)
	requests <- request{number, answer}
	return <-answer
}

func main() {
	requests := make(chan request)
	go square(requests)
	for _, number := range []int{3, 5, 7} {
		fmt.Println(number, ask(requests, number))
	}
}
