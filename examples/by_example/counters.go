package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

func main() {
	var counter atomic.Int64
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			for range 200 {
				counter.Add(1)
				runtime.Gosched()
			}
		})
	}
	group.Wait()
	fmt.Println("counted:", counter.Load())
}
