package main

import (
	"fmt"
	"time"
)

func fail() {
	panic("no such page")
}

func main() {
	fmt.Println("before")
	go fail()
	time.Sleep(time.Hour)
	fmt.Println("never")
}
