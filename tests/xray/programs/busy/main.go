package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func spin(stop *bool) int {
	n := 0
	for !*stop {
		n++
	}
	return n
}

//go:noinline
func nothing() {}

func main() {
	switch os.Args[1] {
	case "sleep":
		t := time.Now()
		time.Sleep(3 * time.Hour)
		fmt.Println("slept", time.Since(t).Round(time.Minute))
	case "workers":
		var wg sync.WaitGroup
		ch := make(chan int)
		sum := 0
		done := make(chan bool)
		go func() {
			for v := range ch {
				sum += v
			}
			done <- true
		}()
		for i := 0; i < 20; i++ {
			wg.Add(1)
			go func(i int) {
				defer wg.Done()
				time.Sleep(time.Duration(i) * time.Millisecond)
				ch <- i
			}(i)
		}
		wg.Wait()
		close(ch)
		<-done
		fmt.Println("sum", sum, runtime.GOMAXPROCS(0))
	case "gc":
		var keep [][]byte
		for i := 0; i < 200; i++ {
			keep = append(keep, make([]byte, 10000))
			if i%50 == 0 {
				runtime.GC()
			}
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Println("gcs", m.NumGC >= 4, len(keep))
	case "preempt":
		stop := false
		go spin(&stop)
		runtime.Gosched()
		time.Sleep(20 * time.Millisecond)
		fmt.Println("main runs beside a spinning goroutine")
	case "resize":
		runtime.GOMAXPROCS(6)
		runtime.GOMAXPROCS(2)
		runtime.GOMAXPROCS(2)
	case "many":
		for i := 0; i < 1000; i++ {
			nothing()
		}
	case "signaled":
		// A thread counts, while main sends it a signal in each of its own turns.
		var n, tid int64
		go func() {
			runtime.LockOSThread()
			atomic.StoreInt64(&tid, int64(syscall.Gettid()))
			for {
				atomic.AddInt64(&n, 1)
			}
		}()
		for atomic.LoadInt64(&tid) == 0 {
			runtime.Gosched()
		}
		for atomic.LoadInt64(&n) < 100000 {
			syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(tid), uintptr(syscall.SIGURG))
		}
		fmt.Println("counted")
	case "forever":
		spin(new(bool))
	case "nil":
		defer func() { fmt.Println("recovered:", recover()) }()
		var p *int
		*p = 1
	case "panic":
		panic("boom")
	case "signal":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGUSR1)
		syscall.Kill(syscall.Getpid(), syscall.SIGUSR1)
		fmt.Println("got", <-c)
	case "deadlock":
		<-make(chan int)
	case "files":
		_, err := os.ReadFile("/proc/version")
		fmt.Println(err)
		users, err := os.ReadFile("/etc/passwd")
		fmt.Println("users", strings.Split(string(users), "\n"), err)
		fmt.Println(os.WriteFile("/tmp/gort-xray-must-not-exist", nil, 0o644))
		r, w, _ := os.Pipe()
		go w.Write([]byte("through a pipe"))
		b := make([]byte, 20)
		n, _ := r.Read(b)
		fmt.Println(string(b[:n]))
		_, err = os.StartProcess("/bin/sh", nil, &os.ProcAttr{})
		fmt.Println(err)
	case "div":
		defer func() { fmt.Println("recovered:", recover()) }()
		z := len(os.Args) - 2
		fmt.Println(1 / z)
	case "ticker":
		t := time.NewTicker(10 * time.Millisecond)
		for i := 0; i < 5; i++ {
			<-t.C
		}
		fmt.Println("ticked")
	}
}
