"""The applications of the rows serve-*: the same for every web server, as WSGI and as ASGI.  Not a program."""

import json
import os
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


def file_wsgi(environ, start):
    file = open(os.environ["GORT_BENCH_FILE"], "rb")  # noqa: SIM115 -- the server closes it
    size = os.fstat(file.fileno()).st_size
    start("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
    wrapper = environ.get("wsgi.file_wrapper")
    return wrapper(file) if wrapper is not None else iter(lambda: file.read(65536), b"")
