// Package heavy has an init that costs something.
package heavy

import "os"

// Text is made while the package is initialized.
var Text = compute()

var kept [][]byte

func compute() string {
	sum := 0
	for i := 0; i < 50000; i++ {
		sum += i * i
	}
	if sum < 0 {
		return "less"
	}
	return "heavy"
}

func init() {
	for i := 0; i < 100; i++ {
		kept = append(kept, make([]byte, 1000))
	}
	for i := 0; i < 7; i++ {
		os.Getppid()
	}
}
