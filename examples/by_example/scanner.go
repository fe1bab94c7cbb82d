package main

import (
	"bufio"
	"fmt"
	"net"
)

func main() {
	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	defer ln.Close()
	client, _ := net.Dial("tcp", ln.Addr().String())
	server, _ := ln.Accept()
	defer server.Close()
	fmt.Fprint(client, "the quick\nbrown fox\n")
	client.(*net.TCPConn).CloseWrite()
	words := bufio.NewScanner(server)
	words.Split(bufio.ScanWords)
	for words.Scan() {
		fmt.Println(words.Text())
	}
	client.Close()
}
