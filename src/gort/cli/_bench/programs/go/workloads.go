package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// yield: 10 goroutines hand over to each other; an operation is one hand-over.
func yield(n int) time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	for range 10 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range n / 10 {
				runtime.Gosched()
			}
		}()
	}
	wg.Wait()
	return time.Since(start)
}

// spawn: start goroutines and wait for them, a thousand at a time.
func spawn(n int) time.Duration {
	const batch = 1000
	var wg sync.WaitGroup
	start := time.Now()
	for done := 0; done < n; done += batch {
		wg.Add(batch)
		for range batch {
			go wg.Done()
		}
		wg.Wait()
	}
	return time.Since(start)
}

// spawnScale: start all n at once and wait for them.
func spawnScale(n int) time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	wg.Add(n)
	for range n {
		go wg.Done()
	}
	wg.Wait()
	return time.Since(start)
}

// pingPong: an operation is one round trip over two unbuffered channels.
func pingPong(n int) time.Duration {
	ping, pong := make(chan int), make(chan int)
	go func() {
		for v := range ping {
			pong <- v
		}
	}()
	start := time.Now()
	for i := range n {
		ping <- i
		<-pong
	}
	took := time.Since(start)
	close(ping)
	return took
}

// pipeline: items through `hops` channels of capacity 128; an operation is one item through one channel.
func pipeline(n, hops int) time.Duration {
	items := n / hops
	first := make(chan int, 128)
	last := first
	for range hops - 1 {
		in, out := last, make(chan int, 128)
		go func() {
			for v := range in {
				out <- v
			}
			close(out)
		}()
		last = out
	}
	start := time.Now()
	go func() {
		for i := range items {
			first <- i
		}
		close(first)
	}()
	got := 0
	for range last {
		got++
	}
	took := time.Since(start)
	if got != items {
		fail("pipeline lost items")
	}
	return took
}

// fanIn: k goroutines send on k unbuffered channels, one goroutine selects over them.
func fanIn(n, k int) time.Duration {
	c := make([]chan int, k)
	for i := range c {
		c[i] = make(chan int)
		go func() {
			for v := range n / k {
				c[i] <- v
			}
		}()
	}
	n = n / k * k
	sum := 0
	start := time.Now()
	switch k {
	case 2:
		a, b := c[0], c[1]
		for range n {
			select {
			case v := <-a:
				sum += v
			case v := <-b:
				sum += v
			}
		}
	case 4:
		for range n {
			select {
			case v := <-c[0]:
				sum += v
			case v := <-c[1]:
				sum += v
			case v := <-c[2]:
				sum += v
			case v := <-c[3]:
				sum += v
			}
		}
	case 16:
		for range n {
			select {
			case v := <-c[0]:
				sum += v
			case v := <-c[1]:
				sum += v
			case v := <-c[2]:
				sum += v
			case v := <-c[3]:
				sum += v
			case v := <-c[4]:
				sum += v
			case v := <-c[5]:
				sum += v
			case v := <-c[6]:
				sum += v
			case v := <-c[7]:
				sum += v
			case v := <-c[8]:
				sum += v
			case v := <-c[9]:
				sum += v
			case v := <-c[10]:
				sum += v
			case v := <-c[11]:
				sum += v
			case v := <-c[12]:
				sum += v
			case v := <-c[13]:
				sum += v
			case v := <-c[14]:
				sum += v
			case v := <-c[15]:
				sum += v
			}
		}
	}
	took := time.Since(start)
	if per := n / k; sum != k*per*(per-1)/2 {
		fail("select lost items")
	}
	return took
}

// mutex: 10 goroutines take one lock in turn and hand over once while they hold it.
func mutex(n int) time.Duration {
	var mu sync.Mutex
	var wg sync.WaitGroup
	count := 0
	start := time.Now()
	for range 10 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range n / 10 {
				mu.Lock()
				count++
				runtime.Gosched()
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	took := time.Since(start)
	if count != n/10*10 {
		fail("the lock let two in")
	}
	return took
}

// timers: n timers are started, all of them pending at once, then all are stopped.
func timers(n int) time.Duration {
	nothing := func() {}
	pending := make([]*time.Timer, n)
	start := time.Now()
	for i := range n {
		pending[i] = time.AfterFunc(time.Hour+time.Duration(i%1000)*time.Second, nothing)
	}
	for _, t := range pending {
		t.Stop()
	}
	return time.Since(start)
}

// sleepers: n goroutines sleep 1 to 10 ms; from the first start to the last end.
func sleepers(n int) time.Duration {
	var wg sync.WaitGroup
	wg.Add(n)
	start := time.Now()
	for i := range n {
		d := time.Duration(i%10+1) * time.Millisecond
		go func() {
			time.Sleep(d)
			wg.Done()
		}()
	}
	wg.Wait()
	return time.Since(start)
}

// skynet: a tree of goroutines, ten children each, n leaves; every node sends its sum to its parent.
func skynet(out chan int, number, size int) {
	if size == 1 {
		out <- number
		return
	}
	in := make(chan int)
	for i := range 10 {
		go skynet(in, number+i*(size/10), size/10)
	}
	sum := 0
	for range 10 {
		sum += <-in
	}
	out <- sum
}

func skynetRun(n int) time.Duration {
	out := make(chan int)
	start := time.Now()
	go skynet(out, 0, n)
	sum := <-out
	took := time.Since(start)
	if sum != n*(n-1)/2 {
		fail("skynet: wrong sum")
	}
	return took
}

// memory: growth of the resident set by n goroutines parked on a channel, over n.
func memory(n int) float64 {
	c := make(chan int)
	var started sync.WaitGroup
	started.Add(n)
	runtime.GC()
	before := resident()
	for range n {
		go func() {
			started.Done()
			<-c
		}()
	}
	started.Wait()
	runtime.Gosched()
	return float64(resident()-before) / float64(n)
}

func resident() int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		fail(err.Error())
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		fail(err.Error())
	}
	return pages * os.Getpagesize()
}
