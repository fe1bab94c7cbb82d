package main

import "fmt"

func main() {
	jobs := make(chan int, 3)
	for _, n := range []int{1, 2, 3} {
		jobs <- n
	}
	close(jobs)
	for {
		job, more := <-jobs
		if !more {
			fmt.Println("no more jobs")
			break
		}
		fmt.Println("job", job)
	}
	defer func() {
		if recover() != nil {
			fmt.Println("nobody may send now")
		}
	}()
	jobs <- 4
}
