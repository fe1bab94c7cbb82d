package main

import (
	"fmt"
	"runtime"
	"sync"
)

func main() {
	var mutex sync.Mutex
	balance := map[string]int{}
	pay := func(name string) {
		for range 100 {
			mutex.Lock()
			before := balance[name]
			runtime.Gosched()
			balance[name] = before + 1
			mutex.Unlock()
		}
	}
	var group sync.WaitGroup
	for _, name := range []string{"a", "b", "a"} {
		group.Go(func() { pay(name) })
	}
	group.Wait()
	fmt.Println(balance["a"], balance["b"])
}
