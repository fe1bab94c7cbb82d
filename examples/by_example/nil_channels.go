package main

import "fmt"

func send(values []int, out chan<- int) {
	for _, value := range values {
		out <- value
	}
	close(out)
}

func main() {
	odd, even := make(chan int), make(chan int)
	go send([]int{1, 3, 5}, odd)
	go send([]int{2, 4}, even)
	total := 0
	for odd != nil || even != nil {
		select {
		case value, ok := <-odd:
			if !ok {
				odd = nil // or it would be chosen again and again
			}
			total += value
		case value, ok := <-even:
			if !ok {
				even = nil
			}
			total += value
		}
	}
	fmt.Println("sum:", total)
}
