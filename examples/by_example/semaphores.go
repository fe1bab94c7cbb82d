package main

import "fmt"

func main() {
	places := make(chan struct{}, 2)
	tryAcquire := func() string {
		select {
		case places <- struct{}{}:
			return "True"
		default:
			return "False"
		}
	}
	fmt.Println("first:", tryAcquire())
	fmt.Println("second:", tryAcquire())
	fmt.Println("third:", tryAcquire())
	<-places
	fmt.Println("after a release:", tryAcquire())
}
