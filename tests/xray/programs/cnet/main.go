// What imports net and os/user is linked to libc by a plain `go build`, by Go's own linker: Go's code is its entry.
package main

import (
	"fmt"
	"net"
	"os/user"
)

func main() {
	fmt.Println("address", net.ParseIP("127.0.0.1"))
	root, err := user.LookupId("0")
	if err != nil {
		fmt.Println(err)
		return
	}
	group, err := user.LookupGroupId("0")
	fmt.Println(root.Username, root.HomeDir, group, err)
}
