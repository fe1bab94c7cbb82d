package main

import "fmt"

func produce(out chan<- int) {
	for n := range 300 {
		out <- n
	}
	close(out)
}

func main() {
	numbers := make(chan int, 64)
	go produce(numbers)
	total, count := 0, 0
	for n := range numbers {
		total += n
		count++
	}
	fmt.Println(count, "numbers, their sum is", total)
}
