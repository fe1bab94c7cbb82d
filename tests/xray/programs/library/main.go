// A package that is built as a shared library and as a plugin.
package main

import "C"

//export Add
func Add(a, b int) int { return a + b }

func main() {}
