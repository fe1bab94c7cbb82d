package main

import (
	"fmt"
	"sync"
)

func main() {
	made := 0
	buffers := sync.Pool{New: func() any {
		made++
		return make([]byte, 4096)
	}}
	buffer := buffers.Get().([]byte)
	fmt.Println("made:", made, "bytes:", len(buffer))
	buffers.Put(buffer)
}
