package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func work(jobs <-chan int, results chan<- int) {
	for n := range jobs {
		time.Sleep(time.Millisecond) // in place of work
		results <- n * 2
	}
}

func main() {
	jobs, results := make(chan int, 10), make(chan int, 10)
	for range 3 {
		go work(jobs, results)
	}
	for n := 1; n < 6; n++ {
		jobs <- n
	}
	close(jobs)
	var all []int
	for range 5 {
		all = append(all, <-results)
	}
	slices.Sort(all)
	fmt.Println(strings.ReplaceAll(fmt.Sprint(all), " ", ", "))
}
