"""A context carries values of the request too. Python's own contextvars work as well: a goroutine starts with a copy."""

import contextvars

import gort
from gort import context

USER = object()  # a key that nobody else can have
trace_id: contextvars.ContextVar[str] = contextvars.ContextVar("trace_id", default="none")


async def handle(ctx: context.Context, done: gort.Chan[None]) -> None:
    print("user:", ctx.value(USER), "trace:", trace_id.get())
    trace_id.set("changed")  # in this goroutine only
    done.close()


async def main() -> None:
    ctx = context.with_value(context.background(), USER, "gopher")
    trace_id.set("7f")
    done = gort.Chan[None]()
    gort.go(handle, ctx, done)
    await done.recv_ok()
    print("trace:", trace_id.get())


if __name__ == "__main__":
    gort.run(main)
