"""gort.aio: asyncio's world on gort.  Event loops that are goroutines, and bridges in both directions.

    asyncio.run(main(), loop_factory=gort.aio.Loop)    # an asyncio program, on gort
    r = await gort.aio.run(main())                     # in a goroutine: a loop of its own
    async with gort.aio.Service() as loop:             # a loop beside the goroutines
        r = await gort.aio.call(loop, client.get(url))
    await gort.aio.serve(app, port=8000, loops=4)      # several loops, which share the connections of one address
    r = await gort.aio.trio(fn)                        # in a goroutine: a trio program

In a task of such a loop gort's operations are awaited as they are: `await ch.recv()`.  In a goroutine a task or future
of a loop that runs is awaited as it is.  docs/guide-asyncio.md says what runs where.
"""

import select

if not hasattr(select, "epoll"):
    raise ImportError("gort.aio needs epoll, whose descriptor gort's poller watches for a loop, and so Linux")

from gort._runtime.core.public import publish as _publish
from gort.aio.calls import Service, call
from gort.aio.guest import trio
from gort.aio.loop import Loop
from gort.aio.running import run
from gort.aio.serving import serve

__all__ = ["Loop", "Service", "call", "run", "serve", "trio"]

_publish(globals())
