package main

import (
	"fmt"
	"sync"
)

func fibonacci(out chan<- int, quit <-chan struct{}) {
	a, b := 0, 1
	for {
		select {
		case out <- a:
			a, b = b, a+b
		case <-quit:
			fmt.Println("quit")
			return
		}
	}
}

func main() {
	numbers, quit := make(chan int), make(chan struct{})
	var producer sync.WaitGroup
	producer.Go(func() { fibonacci(numbers, quit) })
	for range 8 {
		fmt.Println(<-numbers)
	}
	close(quit)
	producer.Wait()
}
