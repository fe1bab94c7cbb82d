package main

import (
	"fmt"
	"os"
)

func main() {
	defer os.Exit(3) // os.Exit itself runs nothing that was deferred: so it comes last
	fmt.Println("cleaned up")
}
