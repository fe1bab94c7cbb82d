// Prints its arguments.
package main

import (
	"os"
	"strings"
)

func main() {
	os.Stdout.WriteString(strings.Join(os.Args[1:], " ") + "\n")
}
