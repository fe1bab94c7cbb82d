package main

import (
	"fmt"
	"sync"
	"time"
)

func main() {
	var mu sync.Mutex
	running, highest := 0, 0
	work := func() {
		mu.Lock()
		running++
		highest = max(highest, running)
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		running--
		mu.Unlock()
	}
	limit := make(chan struct{}, 2)
	var group sync.WaitGroup
	for range 6 {
		limit <- struct{}{}
		group.Go(func() {
			work()
			<-limit
		})
	}
	group.Wait()
	fmt.Println("at most", highest, "at a time")
}
