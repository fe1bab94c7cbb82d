"""What a person sees of a running program: what looks wrong, by the name of its line; the live page and who may read it;
`gort view` and `gort top`."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import gort
from browser import Browser
from gort import debug, runtime
from gort._runtime.core import runtime2, traceback
from gort._runtime.see import looks, server, watcher, wrong
from support import GIL, PATIENCE_S, ROOT, command, environment, gort_cli, parked, python

Run = Callable[..., Any]
PROGRAMS = Path(__file__).parent / "trouble"


def line(name: str, mark: str = "here") -> str:
    """`file.py:n` of the line that is marked."""
    text = (PROGRAMS / f"{name}.py").read_text().splitlines()
    return f"{name}.py:{next(i for i, each in enumerate(text, 1) if each.endswith(f'# {mark}'))}"


@contextmanager
def viewed(program: Path) -> Iterator[str]:
    """Runs a program with its live page, whose address it gives."""
    process = subprocess.Popen(
        command("run", "--view", str(program)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=environment(GOMAXPROCS="1"),
    )  # fmt: skip
    assert process.stderr is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", process.stderr.readline())
        assert found
        yield found[0]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def events(address: str) -> Iterator[dict[str, Any]]:
    """The looks of a page."""
    split = urlsplit(address)
    connection = http.client.HTTPConnection("127.0.0.1", split.port or 0, timeout=PATIENCE_S)
    try:
        connection.request("GET", f"/events?{split.query}")
        answer = connection.getresponse()
        assert answer.status == 200
        while text := answer.readline():
            if text.startswith(b"data: "):
                yield json.loads(text[6:])
    finally:
        connection.close()


def finding(address: str, rule: str, sentence: str = "") -> dict[str, Any]:
    """The first finding of this rule with such a sentence."""
    end = time.monotonic() + PATIENCE_S
    for look in events(address):
        for each in look.get("wrong", ()):
            if each["rule"] == rule and re.search(sentence, each["text"]):
                found: dict[str, Any] = each
                return found
        assert time.monotonic() < end, look
    raise AssertionError("the page has ended")


TROUBLE = {
    "tickers": ("growth", r"goroutines \[chan receive\] at .*heartbeat .* started by .*handle ", "made here"),
    "convoy": ("lock", r"wait for Mutex .* its holder .* \[sleep\] at .*load .*, called by .*lookup ", ""),
    "queue_grows": ("growth", r"\[chan send\] at .*put .* 100 of 100 values: whoever receives", "made here"),
    "blocking": ("blocks", r"lookup .*, called by .*serve .* blocks its thread: .*gort\.blocking", ""),
    "hog": ("computes", r"crunch .*, called by .*report .* computes for long", ""),
    "partial": ("deadlock", r"2 goroutines wait for each other, .* Mutex .*, held by goroutine \d", ""),
    "forgotten": ("growth", r"\[chan send\] at .*ask .* channel of its own, and whoever was to receive", "made here"),
    "starve": ("lock", r"1 goroutine waits .*urgent .*\[runnable\] at .*low .* for its turn: ", ""),
    "frames": ("memory", r"100 goroutines \[chan receive\] keep 20\.\d MB .* (`page` \(bytearray\)|a bytearray) of ", ""),
}  # fmt: skip


DOCUMENTED = ROOT / "docs" / "trouble"


def shape(sentence: str) -> str:
    """A sentence without what differs from run to run; functions, files and lines stay."""
    for what, instead in (
        (r"0x[0-9a-f]+", "0x"),
        (r"Each time|In \d+ of \d+ looks", "Each time"),
        (r", the longest for [\d.]+ s", ""),
        (r"goroutine \d+(, \d+)*(, …)?", "goroutine N"),
        (r"hog\.py:[89]\b", "hog.py"),  # any line of the loop
        (r"`page` \(bytearray\)", "a bytearray"),  # where the names of variables are not known
        (r"(?<![\w.:])\d+(\.\d+)?( [kM]B)?\b", "N"),
    ):
        sentence = re.sub(what, instead, sentence)
    return sentence


@pytest.mark.once
def test_each_program_in_trouble_has_a_page() -> None:
    """With the program itself, and in the list of them."""
    index = (DOCUMENTED / "index.md").read_text()
    assert sorted(p.stem for p in DOCUMENTED.glob("*.md")) == sorted([*TROUBLE, "index"])
    for name in TROUBLE:
        page = (DOCUMENTED / f"{name}.md").read_text()
        [program] = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
        text = (PROGRAMS / f"{name}.py").read_text()
        assert program == re.sub(r"  # (made )?here$", "", text, flags=re.M)
        assert f"| {page.splitlines()[0].removeprefix('# ')} | [{name}.md]({name}.md) |" in index


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser | None]:
    """A browser, where there is one; one core is enough for the page itself."""
    found = Browser() if Browser.path() is not None and runtime.compiled else None
    yield found
    if found is not None:
        found.close()


@pytest.mark.parametrize("name", TROUBLE)
def test_each_program_in_trouble_is_named_with_its_line(name: str, browser: Browser | None) -> None:
    """By a sentence of the page, and the line where it happens.  The documentation has that sentence, and the browser
    shows it."""
    rule, sentence, made = TROUBLE[name]
    exact = GIL or runtime.compiled  # else there is only the function of a goroutine that runs or is about to
    if name in ("frames", "hog") and not exact:
        return  # and nothing of what its frames keep, nor of who computes
    with viewed(PROGRAMS / f"{name}.py") as address:
        if browser is not None:
            browser.go(address)
        found = finding(address, rule, sentence)
        if browser is not None:
            text = browser.until(f"document.querySelector('#findings .bad[data-rule={rule}]')?.textContent")
            assert re.search(sentence, text)
            assert all(at in text for at in found["at"][1:])
            assert browser.wrong() == []
    places = [os.path.basename(at) for at in found["at"]]
    if name == "hog" or (name == "starve" and not exact):
        assert places[0].startswith(f"{name}.py:")  # any line of the loop
    else:
        assert line(name) in places
    if made:
        assert line(name, made) in places
    if exact:
        [sentence] = re.findall(r"^> (.*)$", (DOCUMENTED / f"{name}.md").read_text(), re.M)
        assert shape(found["text"]) == shape(sentence)


def test_a_program_that_does_its_work_has_no_findings() -> None:
    with viewed(PROGRAMS / "fine.py") as address:
        first = None
        for look in events(address):
            first = first or look
            assert [each for each in look["wrong"] if each["rule"] not in ("computes", "blocks")] == []
            if look["ns"] - first["ns"] > 3e9:
                break
    assert look["goroutines"] == 221
    assert look["groups"][0]["count"] == 200
    assert look["states"]["chan receive"] >= 200


# ---- the rules --------------------------------------------------------------------------------------------------------


def series(counts: list[int], **more: Any) -> list[dict[str, Any]]:
    """Looks, half a second apart, at one kind of goroutine that becomes more and less."""
    group = {"state": "chan receive", "stack": [["main.f", "/f.py", 3]], "by": ["main.g", "/f.py", 9], "waits": []}
    return [
        {
            "ns": 1_000_000_000 + i * 500_000_000, "groups": [{**group, "count": count, "goids": [2]}], "objects": [],
            "circles": [], "samples": {"looks": 9, "at": []}, "counters": {"blocked_ns": 0}, "runnable": 0,
            "gomaxprocs": 1, **more,
        }
        for i, count in enumerate(counts)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "grows"),
    [
        ([10, 30, 50, 70, 90, 110], True),
        ([10, 30, 50, 70, 90], True),
        ([10, 30, 50, 70], False),  # for too short a time
        ([10, 110, 110, 110, 110, 110], False),  # it has grown, and stands
        ([10, 60, 110, 60, 110, 160], False),  # it goes up and down
        ([1000, 1010, 1020, 1030, 1040, 1050], False),  # too little
        ([0, 5, 8, 11, 14, 17], False),  # too few
    ],
)
def test_what_grows_is_what_becomes_more_all_the_time(counts: list[int], grows: bool) -> None:
    found = wrong.findings(series(counts))
    assert [each["rule"] for each in found] == (["growth"] if grows else [])
    if grows:
        assert found[0]["at"] == ["/f.py:3", "/f.py:9"]


def test_looks_that_are_rare_are_enough_looks() -> None:
    """With a hundred thousand goroutines a look comes every few seconds."""
    found = series([10, 3000, 6000, 9000, 12000])
    for i, each in enumerate(found):
        each["ns"] = i * 5_000_000_000
    assert [each["rule"] for each in wrong.findings(found)] == ["growth"]


def test_a_lock_for_which_many_wait_now_and_then_is_not_crowded() -> None:
    def lock(waiters: int) -> list[dict[str, Any]]:
        holder = {"goid": 7, "state": "sleep", "stack": [["main.load", "/f.py", 5]]}
        at = [["main.f", "/f.py", 3]]
        item = {"id": "0x1", "text": "Mutex 0x1, held by goroutine 7", "waiters": waiters, "oldest": 0.0, "at": at}
        return [{**item, "holder": holder}]

    often, seldom = series([2] * 8), series([2] * 8)
    for i in range(8):
        often[i]["objects"] = lock(40)
        seldom[i]["objects"] = lock(40 if i % 2 else 1)
    assert [each["rule"] for each in wrong.findings(often)] == ["lock"]
    assert wrong.findings(seldom) == []


def test_nothing_is_wrong_before_the_first_look() -> None:
    assert wrong.findings([]) == []
    assert wrong.findings(series([5])) == []


# ---- looks ------------------------------------------------------------------------------------------------------------


def test_a_look_has_the_holders_and_what_frames_keep(run: Run) -> None:
    async def hold(mu: gort.sync.Mutex, ch: gort.Chan[None]) -> None:
        async with mu:
            await ch.recv_ok()

    async def take(mu: gort.sync.Mutex) -> None:
        big = b"x" * 2_000_000
        async with mu:
            assert big

    async def main() -> tuple[dict[str, Any], dict[str, Any] | None, int]:
        mu, ch = gort.sync.Mutex(), gort.Chan[None]()
        gort.go(hold, mu, ch)
        await parked(1, "chan receive")
        for _ in range(3):
            gort.go(take, mu)
        await parked(3, "sync.Mutex.Lock")
        s = runtime2.current_m().sched
        look = looks.look(s)
        goid = look["objects"][0]["holder"]["goid"]
        one = looks.goroutine(s, goid)
        ch.close()
        return look, one, goid

    look, one, goid = run(main)
    item = look["objects"][0]
    assert (item["waiters"], item["state"]) == (3, "sync.Mutex.Lock")
    assert item["holder"]["state"] == "chan receive"
    assert item["holder"]["stack"][0][0].endswith("hold")
    group = next(each for each in look["groups"] if each["state"] == "sync.Mutex.Lock")
    if GIL or runtime.compiled:
        assert group["kept"]["bytes"] == pytest.approx(6_000_000, rel=0.01)
        name, kind, function, size = group["kept"]["what"][0]
        assert (kind, name in ("big", "")) == ("bytes", True)
        assert function.endswith("take")
        assert size == pytest.approx(2_000_000, rel=0.01)
    assert one is not None
    assert (one["goid"], one["state"]) == (goid, "chan receive")
    assert [each["goid"] for each in one["parents"]] == [1]
    json.dumps(look)


def test_there_is_no_goroutine_of_a_number_that_is_none(run: Run) -> None:
    async def main() -> Any:
        return looks.goroutine(runtime2.current_m().sched, 10**9)

    assert run(main) is None


# ---- who may read -----------------------------------------------------------------------------------------------------


@pytest.fixture
def page() -> Iterator[debug.Page]:
    found = debug.serve()
    yield found
    found.close()


def answer(page: debug.Page, request: str) -> tuple[int, dict[str, str], str]:
    """What the server answers to these very bytes."""
    with socket.create_connection(("127.0.0.1", page.port), timeout=PATIENCE_S) as c:
        c.sendall(request.encode("latin-1"))
        whole = b""
        while part := c.recv(65536):
            whole += part
    head, _, body = whole.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return int(first.split()[1]), dict(each.split(": ", 1) for each in lines), body


def asks(page: debug.Page, path: str = "/", method: str = "GET", host: str | None = None, **headers: str) -> Any:
    token = urlsplit(page.url).query
    head = (
        f"{method} {path}{'&' if '?' in path else '?'}{token} HTTP/1.1\r\nHost: {host or f'127.0.0.1:{page.port}'}\r\n"
    )
    head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return answer(page, head + "\r\n")


def test_the_page_loads_nothing_and_runs_only_its_own_script(page: debug.Page) -> None:
    status, headers, body = asks(page)
    assert status == 200
    policy = dict(each.strip().partition(" ")[::2] for each in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    nonce = policy["script-src"]
    assert re.fullmatch(r"'nonce-[\w-]{16}'", nonce)
    assert policy["style-src"] == nonce
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert f'nonce="{nonce[7:-1]}"' in body
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", body)
    assert asks(page)[1]["Content-Security-Policy"] != headers["Content-Security-Policy"]  # a nonce is used once


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/events",
        "/look",
        "/goroutine?goid=1",
        "/boot",
        "/dump",
        "/metrics",
        "/profile",
        "/flame",
        "/trace",
        "/flight",
    ],
)
def test_nothing_is_told_without_the_token(page: debug.Page, path: str) -> None:
    for wrong_token in (
        "",
        "&token=",
        "&token=x",
        f"&token={page.token[:-1]}",
        "&token=" + page.token + "x",
        "&token=é",
    ):
        query = path + ("" if "?" in path else "?") + wrong_token
        head = f"GET {query} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n"
        status, headers, body = answer(page, head)
        assert (status, body) == (403, "wrong token\n")
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"host": "evil.example"}, "another host"),  # DNS rebinding
        ({"host": "evil.example:80"}, "another host"),
        ({"host": "127.0.0.1"}, "another host"),
        ({"Origin": "http://evil.example"}, "another origin"),
        ({"Origin": "null"}, "another origin"),
        ({"Sec_Fetch_Site": "cross-site"}, "another site"),
        ({"Sec_Fetch_Site": "same-site"}, "another site"),  # another port of this machine
    ],
)
def test_other_sites_cannot_read(page: debug.Page, headers: dict[str, str], why: str) -> None:
    """Not even with the token."""
    assert asks(page, "/look", **headers)[::2] == (403, f"{why}\n")


def test_port_80_is_not_named() -> None:
    assert set(server.hosts(80)) == {"127.0.0.1", "localhost", "127.0.0.1:80", "localhost:80"}


def test_two_hosts_are_none(page: debug.Page) -> None:
    text = f"GET /look HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nHost: evil.example\r\n\r\n"
    assert answer(page, text)[::2] == (400, "two headers host\n")


def test_nothing_can_be_changed(page: debug.Page) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "CONNECT"):
        assert asks(page, "/look", method=method)[0] == 405


@pytest.mark.parametrize(
    "request_text",
    [
        "nonsense\r\n\r\n",
        "GET http://evil/ HTTP/1.1\r\n\r\n",
        "GET //[ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n" + "a" * 20_000,
    ],
)
def test_what_is_no_request_is_refused(page: debug.Page, request_text: str) -> None:
    assert answer(page, request_text)[0] == 400


def test_who_sends_a_byte_now_and_then_is_cut_off(page: debug.Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE_S", 0.4)
    with socket.create_connection(("127.0.0.1", page.port), timeout=0.1) as c:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                c.sendall(b"x")
                if not c.recv(1):
                    break
            except TimeoutError:
                pass
            except OSError:  # reset
                break
        else:
            raise AssertionError("it waits for ever")


def test_it_listens_on_this_machine_alone(page: debug.Page) -> None:
    """The kernel says so."""
    wanted = f":{page.port:04X}"
    lines = [each.split() for each in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [each[1] for each in lines if each[1].endswith(wanted) and each[3] == "0A"]
    assert listening == [f"0100007F{wanted}"]


def test_a_bearer_token_will_do(page: debug.Page) -> None:
    """As Prometheus sends it."""
    text = f"GET /metrics HTTP/1.1\r\nHost: localhost:{page.port}\r\nAuthorization: Bearer {page.token}\r\n\r\n"
    assert answer(page, text)[0] == 200


def test_no_path_leads_to_a_file(page: debug.Page) -> None:
    for path in ("/page.js", "/../server.py", "/%2e%2e/server.py", "//etc/passwd", "/goroutine?goid=-1"):
        assert asks(page, path)[0] in (400, 404, 503)


# ---- the server -------------------------------------------------------------------------------------------------------


def test_there_is_one_page_in_a_process() -> None:
    first = debug.serve()
    try:
        assert debug.serve() is first
        assert debug.serve(first.port) is first
        with pytest.raises(OSError, match=f"on port {first.port} already"):
            debug.serve(1 if first.port != 1 else 2)
    finally:
        first.close()
        first.close()
    second = debug.serve()
    try:
        assert second.token != first.token
    finally:
        second.close()


@pytest.mark.parametrize(
    ("port", "error"), [(-1, ValueError), (65536, ValueError), ("80", TypeError), (True, TypeError)]
)
def test_a_port_that_is_none_is_refused(port: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="port"):
        debug.serve(port)


def test_the_page_switches_no_detector_off() -> None:
    """Nothing that it waits for wakes a goroutine: a deadlock is found while somebody looks."""
    code = """
import http.client, gort
from gort import debug
page = debug.serve()
async def main():
    c = http.client.HTTPConnection("127.0.0.1", page.port)
    c.request("GET", "/events?token=" + page.token)
    answer = c.getresponse()
    while not answer.readline().startswith(b"data: "):
        pass
    await gort.Chan().recv()
gort.run(main)
"""
    done = python(code)
    assert done.returncode == 1
    assert "all goroutines are asleep - deadlock!" in done.stderr


def test_a_forked_child_has_no_page() -> None:
    code = """
import os, sys
from gort import debug
page = debug.serve()
child = os.fork()
if child == 0:
    other = debug.serve()
    os._exit(0 if other is not page and other.port != page.port else 1)
_, status = os.waitpid(child, 0)
print(status, debug.serve() is page)
"""
    done = python(code)
    assert done.stdout == "0 True\n", done.stderr


@pytest.mark.skipif(not GIL and not runtime.compiled, reason="no CPU profile here")
def test_a_forked_child_keeps_nothing_of_the_page() -> None:
    """Neither connections, nor the lock of a profile that is being made."""
    code = """
import http.client, os, threading
import gort
from gort import debug
from gort._runtime.see import record
def ask(page, path):
    c = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    c.request("GET", path + "token=" + page.token)
    return c.getresponse()
def sockets():
    there = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sum(os.readlink(each).startswith("socket") for each in there if os.path.exists(each))
async def in_child():
    print((await gort.blocking(ask, debug.serve(), "/profile?kind=cpu&seconds=0.1&")).status, flush=True)
async def main():
    page = debug.serve()
    before = sockets() - 1  # without the listening one
    threading.Thread(target=ask, args=(page, "/profile?kind=cpu&seconds=60&"), daemon=True).start()
    while "cpu" not in record._busy or not record._busy["cpu"].locked():
        await gort.sleep(0.01)
    child = os.fork()
    if child == 0:
        print(sockets() - before, flush=True)
        gort.run(in_child)
        os._exit(0)
    os.waitpid(child, 0)
    os._exit(0)
gort.run(main)
"""
    done = python(code)
    assert done.stdout == "1\n200\n", done.stderr  # one: the client's own end


def test_import_gort_does_not_load_it() -> None:
    code = "import sys, gort; print([name for name in sys.modules if name.startswith('gort._runtime.see')])"
    assert python(code).stdout == "[]\n"


def test_profiles_the_dump_and_the_boot_are_there(page: debug.Page, run: Run) -> None:
    async def main() -> list[Any]:
        return [await gort.blocking(asks, page, path) for path in ("/profile", "/dump", "/boot", "/goroutine?goid=1")]

    def bytes_of(path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE_S)
        connection.request("GET", f"{path}&token={page.token}")
        got = connection.getresponse()
        assert got.status == 200, got.read()
        content = got.read()
        connection.close()
        return content

    async def binary() -> bytes:
        return await gort.blocking(bytes_of, "/profile?kind=goroutine")

    assert run(binary)[:2] == b"\x1f\x8b"  # gzip

    async def texts() -> list[Any]:
        return [await gort.blocking(asks, page, path) for path in ("/dump", "/boot", "/goroutine?goid=1")]

    dump, boot, one = run(texts)
    assert dump[2].startswith("goroutine 1 [")
    assert {"schedinit", "newproc"} <= {step["name"] for step in json.loads(boot[2])}
    assert json.loads(one[2])["goid"] == 1
    assert asks(page, "/dump")[0] == 503  # nothing runs now


def test_gort_run_says_where_the_page_is_and_leaves_the_program_its_arguments(tmp_path: Path) -> None:
    program = tmp_path / "args.py"
    program.write_text("import sys\nasync def main():\n    print(sys.argv[1:])\n")
    done = gort_cli("run", "--procs", "1", "--view", str(program), "--view", "x")
    assert done.stdout == "['--view', 'x']\n", done.stderr
    assert done.stderr.startswith("gort: live page at http://127.0.0.1:")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = gort_cli("run", f"--view={port}", str(program))
    assert done.returncode == 2
    assert f"cannot use port {port}" in done.stderr


def test_a_running_program_shows_its_page_to_who_asks() -> None:
    """`gort view` and `gort top`, of a program that has prepared nothing."""
    code = "import gort, sys; sys.path.insert(0, sys.argv[1]); from trouble import partial; print(flush=True); "
    code += "gort.run(partial.main)"
    with subprocess.Popen([sys.executable, "-c", code, str(PROGRAMS.parent)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            viewed = gort_cli("view", "--timeout", "100", str(process.pid))
            while "runs no gort program" in viewed.stderr:  # it has not come to gort.run yet
                viewed = gort_cli("view", "--timeout", "100", str(process.pid))
            assert viewed.returncode == 0, viewed.stderr
            assert "2 goroutines wait for each other" in finding(viewed.stdout.strip(), "deadlock")["text"]
            top = gort_cli("top", "--once", str(process.pid))
        finally:
            process.kill()
    assert top.returncode == 0, top.stderr
    text = " ".join(top.stdout.split())
    assert "2 goroutines wait for each other" in text
    assert "trouble.partial.transfer partial.py" in text
    assert re.search(r"P0 (goroutine \d+|idle) \d+ queued", text)
    gone = gort_cli("view", str(process.pid))
    assert (gone.returncode, gone.stderr) == (1, f"gort view: there is no process {process.pid}\n")


def test_a_program_that_gets_no_thread_goes_on() -> None:
    """`gort view` says why there is no page."""
    code = """
import gort, threading
async def main():
    await gort.sleep(0.05)
    threading.stack_size(1 << 45)  # from now on the system gives none
    print(flush=True)
    await gort.sleep(3600)
gort.run(main, procs=1)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            done = gort_cli("view", "--timeout", "100", str(process.pid))
            assert process.poll() is None
        finally:
            process.kill()
    assert done.returncode == 1
    assert done.stderr == f"gort view: process {process.pid} cannot show a page: can't start new thread\n"


def test_the_page_outlives_a_lack_of_descriptors() -> None:
    code = """
import os, resource, socket, time
from gort import debug
page = debug.serve()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
first = socket.socket()
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass
first.connect(("127.0.0.1", page.port))  # it cannot be accepted now
time.sleep(0.3)
for fd in held:
    os.close(fd)
with socket.create_connection(("127.0.0.1", page.port), timeout=60) as c:
    c.sendall(b"nonsense\\r\\n\\r\\n")
    print(c.recv(100)[:12])
"""
    done = python(code)
    assert done.stdout == "b'HTTP/1.1 400'\n", done.stderr


def test_a_look_of_an_earlier_time_is_not_shown(page: debug.Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes when nobody has watched for a while waits for a new one."""
    monkeypatch.setattr(watcher, "IDLE_S", 0.1)
    asks(page, "/look")
    end = time.monotonic() + PATIENCE_S
    while page._watcher.alive and time.monotonic() < end:
        time.sleep(0.05)
    before = time.time()
    assert json.loads(asks(page, "/look")[2])["time"] >= before


def test_looks_come_as_rarely_as_they_cost(page: debug.Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes its part of a processor, and so do the samples in between.  The page of the test before may still have
    its thread."""

    def burn(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    def costly(s: Any, *args: Any) -> dict[str, Any]:
        began.setdefault(threading.get_ident(), []).append(time.monotonic())
        burn(0.03)
        return {"ns": 0, "groups": [], "objects": [], "circles": [], "samples": {"looks": 0, "at": []},
                "counters": {"blocked_ns": 0}, "runnable": 0, "gomaxprocs": 1}  # fmt: skip

    def sampled(self: Any, s: Any) -> None:
        samples.setdefault(threading.get_ident(), []).append(time.monotonic())
        burn(0.01)

    began: dict[int, list[float]] = {}
    samples: dict[int, list[float]] = {}
    monkeypatch.setattr(watcher, "SHARE", 10)
    monkeypatch.setattr(watcher, "LOOK_S", 0.0)
    monkeypatch.setattr(watcher, "SAMPLE_S", 0.01)
    monkeypatch.setattr(looks, "look", costly)
    monkeypatch.setattr(looks.Sampler, "sample", sampled)

    async def main() -> None:
        while max(map(len, began.values()), default=0) < 4:
            await gort.blocking(asks, page, "/look")
            page._watcher.begin()
            await gort.sleep(0.05)

    gort.run(main, procs=1)
    for mine in (times for times in began.values() if len(times) > 1):
        gaps = [after - before for before, after in itertools.pairwise(mine)]
        assert min(gaps) >= 10 * (0.03 + 0.01)  # a look, and a sample at least
    for thread, times in samples.items():
        assert len(times) <= 4 + (times[-1] - times[0]) / (2 * 10 * 0.01), thread


def test_there_is_no_cpu_profile_where_running_stacks_cannot_be_read(
    page: debug.Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As gort.debug.start_cpu_profile says."""
    monkeypatch.setattr(traceback, "WITHOUT_GIL", True)
    monkeypatch.setattr(runtime2, "COMPILED", False)
    status, _, body = asks(page, "/profile?kind=cpu&seconds=0.1")
    assert (status, body) == (503, "the uncompiled core without the GIL cannot read running stacks\n")


def test_top_tells_a_full_page_from_a_program_that_has_ended() -> None:
    code = """
import os, socket, subprocess, sys
import gort
from gort import debug
async def main():
    page = debug.serve()
    cs = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(32)]
    top = [sys.executable, "-m", "gort", "top", "--once", str(os.getpid())]
    print((await gort.blocking(subprocess.run, top, capture_output=True, text=True)).stderr)
gort.run(main)
"""
    done = python(code)
    assert "gort top: the page does not answer" in done.stdout, done.stderr
    assert "has ended" not in done.stdout


def test_top_shows_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "a") + b"\xff.py"
    with open(path, "w") as f:
        f.write(
            "import gort, os\nasync def main():\n    print(flush=True)\n    await gort.sleep(3600)\ngort.run(main)\n"
        )
    with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            env = environment(PYTHONIOENCODING="utf-8:strict")
            done = subprocess.run(command("top", "--once", str(process.pid)), capture_output=True, text=True, env=env)
        finally:
            process.kill()
    assert done.returncode == 0, done.stderr
    assert r"a\udcff.py" in done.stdout


def test_a_look_calls_nothing_of_a_metaclass(run: Run) -> None:
    called: list[str] = []

    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            called.append("__eq__")
            return cls is other

        __hash__ = type.__hash__

    class Mine(bytearray, metaclass=Meta):
        pass

    async def wait(ch: gort.Chan[None]) -> None:
        kept = Mine(1_000_000)
        await ch.recv_ok()
        del kept

    async def main() -> None:
        ch: gort.Chan[None] = gort.Chan()
        gort.go(wait, ch)
        await parked(1, "chan receive")
        called.clear()
        looks.look(runtime2.current_m().sched)
        assert called == []
        ch.close()

    run(main)
