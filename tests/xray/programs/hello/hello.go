package main

import "fmt"

//go:noinline
func Hello(name string) string {
	return fmt.Sprintf("Hello, %s", name)
}

func main() {
	fmt.Println(Hello("world"))
}
