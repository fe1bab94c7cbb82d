package main

import (
	"fmt"
	"time"
)

func main() {
	done := make(chan string)
	remind := func(what string) func() {
		return func() { done <- what }
	}
	time.AfterFunc(2*time.Millisecond, remind("tea"))
	never := time.AfterFunc(time.Hour, remind("the next ice age"))
	fmt.Println("reminder:", <-done)
	if never.Stop() {
		fmt.Println("stopped: True")
	}
}
