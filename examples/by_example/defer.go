package main

import (
	"fmt"
	"runtime"
)

func closeIt(name string) {
	runtime.Gosched()
	fmt.Println("close", name)
}

func main() {
	for _, name := range []string{"first", "second"} {
		fmt.Println("open", name)
		defer closeIt(name)
	}
	fmt.Println("work")
}
