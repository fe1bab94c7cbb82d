"""Making goroutines, finding and running them; timers; the number of Ps; calls that block."""
