//go:build ignore

// Prints how many Ps this process was given; the harness sets GOMAXPROCS in its environment.
package main

import (
	"fmt"
	"runtime"
)

func main() { fmt.Println(runtime.GOMAXPROCS(0)) }
