// What imports net is linked to libc by a plain `go build`, by Go's own linker: Go's code is its entry.
package main

import (
	"fmt"
	"net"
)

func main() {
	fmt.Println("address", net.ParseIP("127.0.0.1"))
}
