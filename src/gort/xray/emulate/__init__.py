"""The emulated machine: a processor, its memory, and a process with threads, signals and files."""
