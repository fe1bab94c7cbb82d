"""The code in docs/ that is no whole program, or one that never ends, runs too; and the commands that pages name exist.

Each block is put where its page says that it stands: in a goroutine that has a connection, a client, a cluster. The other
programs of the pages: test_docs.py (the guides), test_see.py (docs/trouble), test_by_example.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from gort.cli._group import group
from support import PATIENCE_S, ROOT, environment
from test_docs import FILES, PAGES

pytestmark = pytest.mark.once


@dataclass
class Place:
    """Where a block stands: in `around`, at the line BLOCK.

    instead: what the block says -> what is run in its place."""

    around: str
    prints: str
    instead: dict[str, str] = field(default_factory=dict)


IN_MAIN = """
import gort
async def main():
    {before}
    BLOCK
    {after}
gort.run(main)
"""


def in_main(before: str = "", after: str = "", indent: str = "    ") -> str:
    """Around: a goroutine that has done `before`, and does `after` when the block has ended."""
    before, after = (textwrap.indent(textwrap.dedent(text).strip(), indent).strip() for text in (before, after))
    return IN_MAIN.format(before=before or "pass", after=after or "pass")


PEER = """
    from gort import bufio, net, testing
    conn, peer = testing.pipe()
    rows, length, context = [b"one\\n", b"two\\n"], 4, None
    async def sends(data):
        async with peer:
            await peer.write(data)
    async def receives():
        got = b""
        while data := await peer.read():
            got += data
        print(got)
"""
ECHO = """
import gort, sys, types
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read() or b"a page"]
async def served(fn):
    global URL
    ln = await gort.net.listen("tcp", "127.0.0.1:0")
    URL = f"http://{ln.addr}/"
    server = gort.http.Server(app)
    async with gort.Group() as group:
        group.go(server.serve, ln)
        await fn()
        server.stop()
"""
# A client of the program, which ends it: the server ends when it has answered.
CLIENT = """
import os, signal, socket, threading, time
def asks():
    with socket.socket(socket.AF_UNIX) as s:
        while s.connect_ex("socket"):
            time.sleep(0.005)
        s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        print(s.makefile("rb").read().partition(b"\\r\\n\\r\\n")[2])
    os.kill(os.getpid(), signal.SIGTERM)
shop = sys.modules["shop"] = types.ModuleType("shop")
shop.app = app
client = threading.Thread(target=asks)
client.start()
BLOCK
client.join()
"""
ECHO_SERVER = """
BLOCK
from gort import testing
async def tried():
    with testing.Network():
        async with gort.Group() as group:
            server = group.go(main)
            await testing.wait()
            async with await net.dial("tcp", "127.0.0.1:7000") as conn:
                await conn.write(b"hello")
                print(await conn.read())
            server.cancel()
testing.run(tried)
"""
CLUSTER = """
import gort
from gort import cluster
async def fn(*args, **options):
    return sum(args)
async def square(x):
    return x * x
async def main():
    items, x = [1, 2, 3], 4
    async with cluster.connect("local") as c:
        node = c.nodes[0]
        BLOCK
        print(value, squares)
if __name__ == "__main__":
    gort.run(main)
"""
PLACES = {
    "net.md:0": Place(ECHO_SERVER, "b'hello'\n", {"gort.run(main)": ""}),
    "net.md:1": Place(
        in_main(PEER + "    gort.go(sends, b'head\\r\\n\\r\\nbodya line\\n')", "print(head, body, line)"),
        "b'head\\r\\n\\r\\n' b'body' b'a line\\n'\n",
        {"    ...": "    pass"},
    ),
    "net.md:2": Place(in_main(PEER + "    gort.go(sends, b'a\\nb')", "print(line)"), "b'b'\n"),
    "net.md:3": Place(
        in_main(
            PEER + "    group = gort.Group()\n    await group.__aenter__()\n    group.go(receives)",
            "conn.close()\nawait group.__aexit__(None, None, None)",
        ),
        "b'one\\ntwo\\n'\n",
    ),
    "net.md:4": Place(
        in_main("data, ctx = b'b\\na\\n', gort.context.background()", "print(out)"),
        "b'hello' 0\nb'a\\nb\\n'\n",
        {'"git", "status", "--short"': '"echo", "clean"'},
    ),
    "http.md:0": Place(
        ECHO + "BLOCK\ngort.run(served, main)", "200 text/plain a page\n",
        {"gort.run(main)": "", '"https://example.org/"': "URL"},
    ),
    "http.md:1": Place(
        ECHO + "async def rows():\n    yield b'a row'\n"
        "async def main():\n    url = URL\n    async with gort.http.Client() as client:\n        BLOCK\n"
        "gort.run(served, main)",
        "b'a row'\n",
        {"...": "print(bytes(part))"},
    ),
    "cluster.md:0": Place("BLOCK", "332833500\n"),
    "cluster.md:1": Place(CLUSTER, "6 [1, 4, 9]\n", {"fn, 1, 2, key=3": "fn, 1, 2, 3, key=3"}),
    "serve.md:0": Place(ECHO + CLIENT, "b'a page'\n", {"127.0.0.1:8000": "unix:socket"}),
    "seeing.md:0": Place(
        in_main("import io\nfile, name = io.BytesIO(), 'me'\ngort.trace.start(file)",
            "gort.trace.stop()\nprint(file.getvalue()[:2])",
        ),
        "b'go'\n",
    ),
    "seeing.md:1": Place(
        in_main("took = 1.0", "print(recorder.enabled)\nrecorder.stop()\nprint(open('slow.trace', 'rb').read(2))"),
        "True\nb'go'\n",
    ),
    "notebooks.md:0": Place("import gort\nBLOCK\nprint(gort.wait(ch.recv()))\ngort.notebook.stop()", "0\n"),
    "notebooks.md:1": Place(in_main("ch = gort.Chan(1)\nawait ch.send(1)", "print(len(ch))"), "0\n"),
}  # fmt: skip


def blocks(file: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", file.read_text(encoding="utf-8"), re.M | re.S)


def test_each_block_of_python_has_a_place() -> None:
    """Those of the guides are programs (test_docs.py), and what is a program there must not have a place here too."""
    others = [file for file in sorted((ROOT / "docs").glob("*.md")) if file not in FILES]
    assert {f"{file.name}:{i}" for file in others for i, _ in enumerate(blocks(file))} == set(PLACES)


@pytest.mark.parametrize("name", PLACES)
def test_a_block_runs_where_it_stands(name: str, tmp_path: Path) -> None:
    file, _, number = name.partition(":")
    place = PLACES[name]
    block = blocks(ROOT / "docs" / file)[int(number)]
    for said, instead in place.instead.items():
        assert said in block, said
        block = block.replace(said, instead)
    [indent] = re.findall(r"^( *)BLOCK$", place.around, re.M)
    program = tmp_path / "program.py"
    program.write_text(place.around.replace(f"{indent}BLOCK", textwrap.indent(block, indent)))
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, place.prints, "")


# ---- the commands that pages name -------------------------------------------------------------------------------------

# A line of a block or of the text's code: the command, and what follows.
COMMAND = re.compile(r"(?:^    (?:\$ )?|`)gort ([a-z]+)(?=[ `\n])([^`\n]*)", re.M)


NO_COMMANDS = {"asyncio"}  # of `gort bench` a peer's name: gort serve with --loop asyncio


def options_of(command: str) -> set[str]:
    found = group.get_command(click.Context(group), command)
    assert found is not None
    return {
        "--help",
        *(name for p in found.params if isinstance(p, click.Option) for name in (*p.opts, *p.secondary_opts)),
    }


@pytest.mark.parametrize("file", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_and_its_options_exist(file: Path) -> None:
    commands = set(group.list_commands(click.Context(group)))
    assert not commands & NO_COMMANDS
    for command, rest in COMMAND.findall(file.read_text(encoding="utf-8")):
        if command in NO_COMMANDS:
            continue
        assert command in commands, f"gort {command}{rest}"
        given = set(re.findall(r"(?<=\s)--[a-z][\w-]*", rest.partition("#")[0]))
        assert given <= options_of(command), f"gort {command}{rest}"


@pytest.mark.parametrize("file", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_target_of_make_exists(file: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+(?: [\w-]+)*):", makefile, re.M))
    targets = {name for line in targets for name in line.split()}
    assert "test-pure" in targets
    for line in re.findall(r"(?:^    (?:\$ )?|`)make ([a-z][^`\n#]*)", file.read_text(encoding="utf-8"), re.M):
        for word in re.split(r"\s{2,}", line)[0].split():
            if "=" not in word and not word.startswith("-"):
                assert word in targets or re.fullmatch(r"test-(NAME|[\d.]+t?-\w+|\w+)", word), f"make {line}"
