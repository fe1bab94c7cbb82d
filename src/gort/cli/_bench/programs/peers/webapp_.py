"""The applications of the rows serve-*: the same for every web server, as WSGI and as ASGI.  Not a program.

The query is made on a connection of a pool, as programs do it: a view waits where all are taken.  With an event loop that
is psycopg's AsyncConnection; in `gort serve --loop native` there is none, and the async view makes the plain call.
"""

import asyncio
import json
import os
import queue
import threading
import time

HELLO = b"Hello, world!"
RECORDS = [{"id": i, "name": f"record {i}", "tags": ["one", "two", "three"], "score": i / 7} for i in range(120)]
SLEEP_S = 0.05


def answer_wsgi(start, body, kind="text/plain"):
    start("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


async def answer_asgi(send, body, kind=b"text/plain"):
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def hello_wsgi(environ, start):
    return answer_wsgi(start, HELLO)


async def hello_asgi(scope, receive, send):
    if scope["type"] == "http":
        await answer_asgi(send, HELLO)


def json_wsgi(environ, start):
    return answer_wsgi(start, json.dumps(RECORDS).encode(), "application/json")


async def json_asgi(scope, receive, send):
    if scope["type"] == "http":
        await answer_asgi(send, json.dumps(RECORDS).encode(), b"application/json")


def sleep_wsgi(environ, start):
    time.sleep(SLEEP_S)
    return answer_wsgi(start, HELLO)


async def sleep_asgi(scope, receive, send):
    if scope["type"] == "http":
        time.sleep(SLEEP_S)
        await answer_asgi(send, HELLO)


idle_wsgi, idle_asgi = hello_wsgi, hello_asgi


class Pool:
    """Connections to PostgreSQL, made when they are needed, at most MOST."""

    MOST = 50

    def __init__(self):
        self.free = queue.LifoQueue()
        self.lock = threading.Lock()
        self.made = 0

    def query(self):
        """What the database says."""
        try:
            connection = self.free.get_nowait()
        except queue.Empty:
            with self.lock:
                makes = self.made < self.MOST
                self.made += makes
            connection = self.connect() if makes else self.free.get()
        try:
            return connection.execute("SELECT 'Hello, ' || %s::text", ("world!",)).fetchone()[0]
        finally:
            self.free.put(connection)

    def connect(self):
        import psycopg

        return psycopg.connect(os.environ["GORT_BENCH_POSTGRES"], autocommit=True)


class AsyncPool:
    """The same for the tasks of an event loop."""

    def __init__(self):
        self.free = asyncio.LifoQueue()
        self.made = 0

    async def query(self):
        """What the database says."""
        if self.free.empty() and self.made < Pool.MOST:
            self.made += 1
            connection = await self.connect()
        else:
            connection = await self.free.get()
        try:
            cursor = await connection.execute("SELECT 'Hello, ' || %s::text", ("world!",))
            return (await cursor.fetchone())[0]
        finally:
            self.free.put_nowait(connection)

    async def connect(self):
        import psycopg

        return await psycopg.AsyncConnection.connect(os.environ["GORT_BENCH_POSTGRES"], autocommit=True)


pool = Pool()
async_pools = {}  # by event loop


def query_wsgi(environ, start):
    return answer_wsgi(start, pool.query().encode())


async def query_asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        text = pool.query()
    else:
        if loop not in async_pools:
            async_pools[loop] = AsyncPool()
        text = await async_pools[loop].query()
    await answer_asgi(send, text.encode())


async def websocket_asgi(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message["bytes"]})


def file_wsgi(environ, start):
    file = open(os.environ["GORT_BENCH_FILE"], "rb")  # noqa: SIM115 -- the server closes it
    size = os.fstat(file.fileno()).st_size
    start("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
    wrapper = environ.get("wsgi.file_wrapper")
    return wrapper(file) if wrapper is not None else iter(lambda: file.read(65536), b"")
