package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

func main() {
	ended := make([]bool, 5)
	var wg sync.WaitGroup
	for n := range ended {
		wg.Go(func() {
			time.Sleep(time.Millisecond)
			ended[n] = true
		})
	}
	wg.Wait()
	if !slices.Contains(ended, false) {
		fmt.Println("all have ended: True")
	}
}
