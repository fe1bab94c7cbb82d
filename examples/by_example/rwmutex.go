package main

import (
	"fmt"
	"sync"
)

func main() {
	table := map[string]int{"answer": 41}
	var lock sync.RWMutex
	var both, group sync.WaitGroup
	both.Add(2)
	read := func() {
		lock.RLock()
		defer lock.RUnlock()
		both.Done()
		both.Wait() // until the other one is inside too
	}
	group.Go(read)
	group.Go(read)
	group.Wait()
	lock.Lock() // alone
	table["answer"]++
	lock.Unlock()
	fmt.Println("read together, then written:", table["answer"])
}
