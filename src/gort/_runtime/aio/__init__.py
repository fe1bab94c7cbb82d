"""The hot part of gort.aio's event loop: what each callback and each message passes through.  gort.aio alone loads it."""
