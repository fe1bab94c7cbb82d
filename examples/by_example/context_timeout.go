package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func query(ctx context.Context, rows <-chan string) (string, error) {
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case row := <-rows:
		return row, nil
	}
}

func main() {
	why := errors.New("the page took too long")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 10*time.Millisecond, why)
	defer cancel()
	row, err := query(ctx, make(chan string))
	if errors.Is(err, context.DeadlineExceeded) {
		fmt.Println(err, "|", context.Cause(ctx))
		return
	}
	fmt.Println(row)
}
