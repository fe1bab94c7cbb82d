"""The emulated machine: processor, memory, a process, what it records while it runs."""
