//go:build !linux

package main

import "time"

// nap would block the thread for d; package syscall has such a call on Linux only.
func nap(time.Duration) {
	fail("blocking is measured on Linux only")
}
