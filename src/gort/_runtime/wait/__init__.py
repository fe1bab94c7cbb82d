"""What goroutines wait for: channels, select, locks, and the timers that users hold."""
