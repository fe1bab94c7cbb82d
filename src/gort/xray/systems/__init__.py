"""The operating systems that a program sees: their system calls, their loaders, their libraries."""
