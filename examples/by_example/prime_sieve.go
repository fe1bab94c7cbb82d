package main

import "fmt"

func generate(out chan<- int) {
	for n := 2; ; n++ {
		out <- n
	}
}

func sieve(prime int, numbers <-chan int, out chan<- int) {
	for n := range numbers {
		if n%prime != 0 {
			out <- n
		}
	}
}

func main() {
	numbers := make(chan int)
	go generate(numbers)
	for range 8 {
		prime := <-numbers
		fmt.Println(prime)
		rest := make(chan int)
		go sieve(prime, numbers, rest)
		numbers = rest
	}
}
