package main

import (
	"context"
	"fmt"
)

type key int

const (
	user key = iota
	traceID
)

func handle(ctx context.Context, done chan<- struct{}) {
	fmt.Println("user:", ctx.Value(user), "trace:", ctx.Value(traceID))
	close(done)
}

func main() {
	ctx := context.WithValue(context.Background(), user, "gopher")
	ctx = context.WithValue(ctx, traceID, "7f")
	done := make(chan struct{})
	go handle(ctx, done)
	<-done
	fmt.Println("trace:", ctx.Value(traceID))
}
