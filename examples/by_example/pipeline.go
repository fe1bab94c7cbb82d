package main

import "fmt"

func numbers(out chan<- int) {
	for n := 1; n < 6; n++ {
		out <- n
	}
	close(out)
}

func squares(numbers <-chan int, out chan<- int) {
	for n := range numbers {
		out <- n * n
	}
	close(out)
}

func main() {
	first, second := make(chan int), make(chan int)
	go numbers(first)
	go squares(first, second)
	total := 0
	for n := range second {
		total += n
	}
	fmt.Println("sum of the squares:", total)
}
