// Its packages' inits compute, allocate, make system calls and wait.
package main

import (
	"os"
	"time"

	"inits/heavy"
)

func init() {
	time.Sleep(3 * time.Millisecond)
}

func init() {
	if len(os.Args) > 1 {
		select {}
	}
}

func main() {
	os.Stdout.WriteString(heavy.Text + "\n")
}
