"""The structures, the run queues, handing Ps from thread to thread; errors, dumps and settings."""
