"""The runtime's structures: their places in memory, and what they hold."""
