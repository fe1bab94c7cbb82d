package main

import (
	"syscall"
	"time"
)

// nap blocks the thread for d, as a call of C's nanosleep does.
func nap(d time.Duration) {
	left := syscall.NsecToTimespec(d.Nanoseconds())
	for syscall.Nanosleep(&left, &left) == syscall.EINTR {
	}
}
