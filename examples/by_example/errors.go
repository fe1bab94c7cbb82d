package main

import (
	"fmt"
	"strconv"
	"sync"
)

func attempt(text string) string {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Sprint(text, " is none")
	}
	return fmt.Sprint(n, " is a number")
}

func main() {
	texts := []string{"12", "twelve"}
	results := make([]string, len(texts))
	var group sync.WaitGroup
	for i, text := range texts {
		group.Go(func() { results[i] = attempt(text) })
	}
	group.Wait()
	for _, result := range results {
		fmt.Println(result)
	}
}
