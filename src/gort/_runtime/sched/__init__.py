"""Makes goroutines, finds and runs them; timers; the number of Ps; calls that block."""
