package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

var servers = []string{"echo", "http", "http-file", "http-json", "http-sleep", "websocket"}

// serve KIND: the Go servers. They print their address, and end when standard input does.
func serve(args []string) {
	if len(args) != 1 {
		fail("usage: bench serve " + strings.Join(servers, "|"))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err.Error())
	}
	fmt.Println(listener.Addr())
	switch args[0] {
	case "echo":
		go serveEcho(listener)
	case "http", "http-json", "http-sleep":
		go func() { _ = http.Serve(listener, handler(args[0])) }()
	case "http-file":
		go func() { _ = http.Serve(listener, fileHandler()) }()
	case "websocket":
		go func() { _ = http.Serve(listener, http.HandlerFunc(serveWebsocket)) }()
	default:
		fail("no server " + args[0])
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

type record struct {
	ID    int      `json:"id"`
	Name  string   `json:"name"`
	Tags  []string `json:"tags"`
	Score float64  `json:"score"`
}

// handler: what webapp_.py answers, in Go.
func handler(kind string) http.Handler {
	records := make([]record, 120)
	for i := range records {
		records[i] = record{i, fmt.Sprintf("record %d", i), []string{"one", "two", "three"}, float64(i) / 7}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body := []byte("Hello, world!")
		w.Header().Set("Content-Type", "text/plain")
		switch kind {
		case "http-json":
			body, _ = json.Marshal(records)
			w.Header().Set("Content-Type", "application/json")
		case "http-sleep":
			time.Sleep(50 * time.Millisecond)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
}

// lines: a line with its end from a TCP connection; its text as a string, as the other peers give an object for each.
func lines(n, length int) time.Duration {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err.Error())
	}
	writer, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		fail(err.Error())
	}
	conn, err := listener.Accept()
	if err != nil {
		fail(err.Error())
	}
	listener.Close()
	perBlock := max(1, (1<<18)/length)
	block := []byte(strings.Repeat(strings.Repeat("x", length-1)+"\n", perBlock))
	go func() {
		defer writer.Close()
		for sent := 0; sent < n; sent += perBlock {
			if _, err := writer.Write(block); err != nil {
				return
			}
		}
	}()
	reader := bufio.NewReaderSize(conn, 65536)
	size := 0
	start := time.Now()
	for range n {
		line, err := reader.ReadString('\n')
		if err != nil {
			fail(err.Error())
		}
		size += len(line)
	}
	took := time.Since(start)
	if size != n*length {
		fail("lines lost bytes")
	}
	_, _ = io.Copy(io.Discard, reader) // what the last block has beyond n lines
	conn.Close()
	return took
}

func serveEcho(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buffer := make([]byte, 4096)
			for {
				n, err := conn.Read(buffer)
				if n > 0 {
					if _, err := conn.Write(buffer[:n]); err != nil {
						return
					}
				}
				if err != nil {
					return
				}
			}
		}()
	}
}

// load KIND ADDRESS CONNECTIONS SECONDS [RATE]: the load generator of every server, whoever wrote it.
//
// Without RATE each connection has one message under way all the time (a closed loop): the rate is what the server
// can do. With RATE messages a second over all connections, each is sent at its own time whether or not the answer
// to the last has come, and its latency counts from that time, so that a stall is felt by all that it delays.
func load(args []string) {
	if len(args) < 4 {
		fail("usage: bench load echo|http|websocket|idle ADDRESS CONNECTIONS SECONDS [RATE]")
	}
	kind, address := args[0], args[1]
	connections := number(args[2])
	seconds, err := strconv.ParseFloat(args[3], 64)
	if err != nil || seconds <= 0 {
		fail("SECONDS must be a positive number, not " + args[3])
	}
	rate := 0
	if len(args) > 4 {
		rate = number(args[4])
	}
	if !strings.HasPrefix(address, "127.0.0.1:") {
		fail("load is only for servers on 127.0.0.1")
	}
	exchange := echoOnce
	switch kind {
	case "http", "idle":
		exchange = httpOnce
	case "websocket":
		exchange = websocketOnce
	}

	conns := make([]*client, connections)
	for i := range conns {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			fail(err.Error())
		}
		conns[i] = &client{conn: conn, reader: bufio.NewReaderSize(conn, 4096), message: make([]byte, 128)}
		if kind == "websocket" {
			err = openWebsocket(conns[i])
		} else if kind == "idle" {
			err = httpOnce(conns[i])
			conns[i].reader = nil
		}
		if err != nil {
			fail(err.Error())
		}
	}
	if kind == "idle" {
		emit(map[string]any{"connections": connections})
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	warm := time.Duration(seconds * 0.2 * float64(time.Second))
	start := time.Now()
	measureFrom := start.Add(warm)
	stop := measureFrom.Add(time.Duration(seconds * float64(time.Second)))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer c.conn.Close()
			next := start
			gap := time.Duration(0)
			if rate > 0 {
				gap = time.Duration(float64(connections) / float64(rate) * float64(time.Second))
				next = start.Add(gap * time.Duration(i) / time.Duration(connections))
			}
			for {
				if rate > 0 {
					time.Sleep(time.Until(next))
				} else {
					next = time.Now()
				}
				if next.After(stop) {
					return
				}
				if err := exchange(c); err != nil {
					c.err = err
					return
				}
				now := time.Now()
				if !next.Before(measureFrom) && now.Before(stop) {
					c.latencies = append(c.latencies, now.Sub(next))
				}
				next = next.Add(gap)
			}
		}()
	}
	wg.Wait()
	var all []time.Duration
	for _, c := range conns {
		if c.err != nil {
			fail("a connection failed: " + c.err.Error())
		}
		all = append(all, c.latencies...)
	}
	if len(all) == 0 {
		fail("no answer in time")
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	quantile := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))].Nanoseconds()) / 1e3 }
	emit(map[string]any{
		"rate": float64(len(all)) / seconds, "messages": len(all),
		"p50_us": quantile(0.50), "p99_us": quantile(0.99), "p999_us": quantile(0.999),
	})
}

type client struct {
	conn      net.Conn
	reader    *bufio.Reader
	message   []byte
	latencies []time.Duration
	err       error
}

func echoOnce(c *client) error {
	if _, err := c.conn.Write(c.message); err != nil {
		return err
	}
	_, err := io.ReadFull(c.reader, c.message)
	return err
}

var request = []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

func httpOnce(c *client) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		line, err := c.reader.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		if first && !strings.Contains(line, " 200") {
			return fmt.Errorf("answer %q", line)
		}
		if line == "" {
			break
		}
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "content-length") {
			length = number(strings.TrimSpace(value))
		}
	}
	if length < 0 {
		return fmt.Errorf("the answer has no Content-Length")
	}
	_, err := c.reader.Discard(length)
	return err
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		fail("wanted a positive number, got " + text)
	}
	return n
}
