package main

import (
	"fmt"
	"sync"
	"time"
)

func main() {
	var once sync.Once
	connect := func() {
		fmt.Println("connecting")
		time.Sleep(time.Millisecond)
	}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() { once.Do(connect) })
	}
	group.Wait()
	fmt.Println("three requests, one connection")
}
