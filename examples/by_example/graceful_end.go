package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

func work(ctx context.Context) {
	<-ctx.Done()
	fmt.Println("finishing what was begun")
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var group sync.WaitGroup
	group.Go(func() { work(ctx) })
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	group.Wait()
	fmt.Println("goodbye")
}
