package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

func digest(data []byte, out chan<- string) {
	sum := sha256.Sum256(data)
	out <- hex.EncodeToString(sum[:])[:8]
}

func main() {
	out := make(chan string)
	go digest([]byte("gort"), out)
	fmt.Println(<-out)
}
