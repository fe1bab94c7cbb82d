package main

import (
	"fmt"
	"sync"
	"time"
)

func length(word string) int {
	time.Sleep(time.Millisecond)
	return len(word)
}

func main() {
	words := []string{"park", "hand-off", "steal"}
	results := make([]int, len(words))
	var group sync.WaitGroup
	for i, word := range words {
		group.Go(func() { results[i] = length(word) })
	}
	group.Wait()
	fmt.Println(results[0], results[1], results[2])
}
