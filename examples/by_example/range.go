package main

import "fmt"

func count(to int, out chan<- int) {
	for n := range to {
		out <- n
	}
	close(out)
}

func main() {
	numbers := make(chan int)
	go count(4, numbers)
	for n := range numbers {
		fmt.Println(n)
	}
}
