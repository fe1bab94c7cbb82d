package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

const fileBytes = 100_000_000

// fileHandler serves a file of zeros, which is gone when the process ends.
func fileHandler() http.Handler {
	file, err := os.CreateTemp("", "gort-bench")
	if err != nil {
		fail(err.Error())
	}
	if err := os.Remove(file.Name()); err != nil {
		fail(err.Error())
	}
	if err := file.Truncate(fileBytes); err != nil {
		fail(err.Error())
	}
	path := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeFile(w, r, path)
	})
}

// A websocket of RFC 6455, as much of it as echo needs: whole binary messages of fewer than 65,536 bytes.
const websocketKey = "AAAAAAAAAAAAAAAAAAAAAA=="

var mask = [4]byte{1, 2, 3, 4}

func accepted(key string) string {
	digest := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(digest[:])
}

func serveWebsocket(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", accepted(r.Header.Get("Sec-WebSocket-Key")))
	for {
		message, err := readFrame(rw.Reader)
		if err != nil {
			return
		}
		if _, err := conn.Write(frame(message, false)); err != nil {
			return
		}
	}
}

func frame(message []byte, masked bool) []byte {
	made := []byte{0x82}
	if len(message) < 126 {
		made = append(made, byte(len(message)))
	} else {
		made = append(made, 126)
		made = binary.BigEndian.AppendUint16(made, uint16(len(message)))
	}
	if !masked {
		return append(made, message...)
	}
	made[1] |= 0x80
	made = append(made, mask[:]...)
	for i, b := range message {
		made = append(made, b^mask[i%4])
	}
	return made
}

func readFrame(r *bufio.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return nil, err
	}
	if head[0] != 0x82 {
		return nil, fmt.Errorf("frame %#x", head[0])
	}
	length := int(head[1] & 0x7f)
	if length == 126 {
		if _, err := io.ReadFull(r, head[2:]); err != nil {
			return nil, err
		}
		length = int(binary.BigEndian.Uint16(head[2:]))
	} else if length == 127 {
		return nil, fmt.Errorf("a long frame")
	}
	var key [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return nil, err
		}
	}
	message := make([]byte, length)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, err
	}
	for i := range message {
		message[i] ^= key[i%4]
	}
	return message, nil
}

func openWebsocket(c *client) error {
	for i := range c.message {
		c.message[i] = byte(i)
	}
	_, err := c.conn.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + websocketKey + "\r\n\r\n"))
	if err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != 101 || strings.TrimSpace(answer.Header.Get("Sec-WebSocket-Accept")) != accepted(websocketKey) {
		return fmt.Errorf("the server accepts no websocket: %s", answer.Status)
	}
	return nil
}

func websocketOnce(c *client) error {
	if _, err := c.conn.Write(frame(c.message, true)); err != nil {
		return err
	}
	message, err := readFrame(c.reader)
	if err == nil && !bytes.Equal(message, c.message) {
		err = fmt.Errorf("the answer is another message")
	}
	return err
}
