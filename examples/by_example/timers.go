package main

import (
	"fmt"
	"time"
)

func main() {
	first := time.NewTimer(2 * time.Millisecond)
	<-first.C
	fmt.Println("first: fired")
	second := time.NewTimer(time.Hour)
	if second.Stop() {
		fmt.Println("second: stopped in time")
	}
	if !second.Stop() {
		fmt.Println("second: nothing to stop")
	}
	second.Reset(2 * time.Millisecond)
	<-second.C
	fmt.Println("second: fired after a reset")
}
