package main

import (
	"fmt"
	"net"
)

func main() {
	server, _ := net.ListenPacket("udp", "127.0.0.1:0")
	defer server.Close()
	client, _ := net.Dial("udp", server.LocalAddr().String())
	defer client.Close()
	buffer := make([]byte, 1024)
	client.Write([]byte("ping"))
	n, sender, _ := server.ReadFrom(buffer)
	server.WriteTo(append(buffer[:n:n], " pong"...), sender)
	n, _ = client.Read(buffer)
	fmt.Println(string(buffer[:n]))
}
