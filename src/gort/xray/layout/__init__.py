"""Where the runtime's structures lie in memory, and what they hold."""
