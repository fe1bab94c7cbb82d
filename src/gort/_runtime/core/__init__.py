"""The structures, the run queues, the handoff of Ps between threads; errors, dumps and settings."""
