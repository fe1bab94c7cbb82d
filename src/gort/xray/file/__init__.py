"""The contents of an executable file: its format, its symbols, Go's own tables, its debugging information."""
