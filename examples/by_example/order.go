package main

import (
	"fmt"
	"runtime"
	"sync"
)

func say(name string) {
	fmt.Println(name, "begins")
	runtime.Gosched() // lets the others run
	fmt.Println(name, "ends")
}

func main() {
	runtime.GOMAXPROCS(1)
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		wg.Go(func() { say(name) })
	}
	wg.Wait()
}
