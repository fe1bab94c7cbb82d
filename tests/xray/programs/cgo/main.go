// A program with C code of its own, which the system's linker links: C's _start is its entry.
package main

/*
static __thread int calls;
static int twice(int n) { calls++; return 2 * n; }
*/
import "C"

import (
	"fmt"
	"runtime"
)

func main() {
	done := make(chan int)
	for i := 0; i < 4; i++ {
		go func(i int) {
			runtime.LockOSThread() // each on a thread of its own, which pthread_create makes
			done <- int(C.twice(C.int(i)))
		}(i)
	}
	sum := 0
	for i := 0; i < 4; i++ {
		sum += <-done
	}
	fmt.Println("sum", sum)
}
