package main

import "fmt"

func handle(request int) {
	defer func() {
		if recover() != nil {
			fmt.Println("request", request, "went wrong")
		}
	}()
	fmt.Println(100 / request)
}

func serve(requests <-chan int, done chan<- struct{}) {
	for request := range requests {
		handle(request)
	}
	close(done)
}

func main() {
	requests, done := make(chan int), make(chan struct{})
	go serve(requests, done)
	for _, request := range []int{5, 0, 4} {
		requests <- request
	}
	close(requests)
	<-done
}
