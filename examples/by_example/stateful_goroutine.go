package main

import "fmt"

type read struct {
	key    string
	answer chan int
}

type write struct {
	key   string
	value int
}

func owner(reads <-chan read, writes <-chan write) {
	state := map[string]int{}
	for {
		select {
		case r := <-reads:
			r.answer <- state[r.key]
		case w := <-writes:
			state[w.key] = w.value
		}
	}
}

func main() {
	reads, writes := make(chan read), make(chan write)
	go owner(reads, writes)
	writes <- write{"a", 1}
	writes <- write{"b", 2}
	for _, key := range []string{"a", "b", "c"} {
		answer := make(chan int, 1)
		reads <- read{key, answer}
		fmt.Println(key, <-answer)
	}
}
