package main

import (
	"fmt"
	"os"
)

func main() {
	short, here := os.LookupEnv("SHORT")
	_, missing := os.LookupEnv("MISSING")
	fmt.Println(short, here, missing, len(os.Getenv("LONG")))
}
