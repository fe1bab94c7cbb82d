"""What a user asks of a run: a place to stop at, a value to print, a variable whose writes are listed."""
