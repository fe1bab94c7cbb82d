package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

func main() {
	merged := make(chan int)
	var producers sync.WaitGroup
	for _, start := range []int{0, 10, 20} {
		producers.Go(func() {
			for n := start; n < start+3; n++ {
				merged <- n
			}
		})
	}
	go func() {
		producers.Wait()
		close(merged)
	}()
	var all []int
	for n := range merged {
		all = append(all, n)
	}
	slices.Sort(all)
	fmt.Println(strings.ReplaceAll(fmt.Sprint(all), " ", ", "))
}
