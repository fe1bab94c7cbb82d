package main

import (
	"fmt"
	"sync"
)

func main() {
	var mutex sync.Mutex
	changed := sync.NewCond(&mutex)
	stock := 0
	buy := func(n int) func() {
		return func() {
			mutex.Lock()
			defer mutex.Unlock()
			for stock < n {
				changed.Wait()
			}
			stock -= n
		}
	}
	var buyers sync.WaitGroup
	buyers.Go(buy(3))
	buyers.Go(buy(2))
	for range 6 {
		mutex.Lock()
		stock++
		mutex.Unlock()
		changed.Broadcast()
	}
	buyers.Wait()
	fmt.Println("left:", stock)
}
