"""The examples of gort.cluster."""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support import ROOT


def run(example: str, *arguments: str) -> list[str]:
    """The lines that an example prints."""
    program = [sys.executable, str(ROOT / "examples" / example), *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(program, env=env, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    return done.stdout.splitlines()


@pytest.mark.once
def test_the_words_of_a_million_lines_are_counted_on_all_nodes(tmp_path: Path) -> None:
    """examples/wordcount.py: each line once, also where a part of the file ends in the middle of one."""
    text = tmp_path / "text"
    lines = 1_000_000
    text.write_text("The fox 1 saw\nthe fox 23 saw\n" * (lines // 2))
    counts = run("wordcount.py", str(text), "--nodes", "2")
    assert counts == [*(f"{lines} {word}" for word in ("fox", "saw", "the")), f"{lines // 2} 1", f"{lines // 2} 23"]


def test_a_tree_has_the_same_digest_on_one_process_and_on_nodes(tmp_path: Path) -> None:
    """examples/digest_cluster.py and examples/digest.py."""
    for i in range(300):
        folder = tmp_path / f"d{i % 7}" / f"e{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{i}\n").write_bytes(bytes([i % 251]) * i * 10)
    *_, one = run("digest.py", str(tmp_path), "--quiet")
    for nodes in ("1", "2"):
        size, times, many = run("digest_cluster.py", str(tmp_path), "--nodes", nodes)
        assert size.startswith("300 files, 448,500 bytes")
        assert re.fullmatch(rf"2 digesters on each of {nodes}: started in [\d.]+ s, at work for [\d.]+ s", times)
        assert one == many
    assert one.startswith("combined digest ")


class Site(http.server.BaseHTTPRequestHandler):
    """Thirty pages, each of which links to two others and to one that is not there."""

    def do_GET(self) -> None:
        """One page."""
        number = int(self.path[1:] or 0) if self.path[1:].isdigit() or self.path == "/" else 99
        body = "".join(
            f'<a href="/{n}">x</a>' for n in (number * 2 + 1, number * 2 + 2, "none") if n == "none" or n < 30
        )
        self.send_response(200 if number < 30 else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def test_nodes_crawl_a_site_with_one_frontier() -> None:
    """examples/crawler_cluster.py: each page once, whichever node has fetched it."""
    with http.server.HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            lines = run("crawler_cluster.py", f"127.0.0.1:{server.server_port}", "--nodes", "2", "--at-once", "3")
        finally:
            server.shutdown()
            thread.join()
    assert sorted(line.split()[2] for line in lines) == sorted(["/", "/none", *(f"/{n}" for n in range(1, 30))])
    assert [line for line in lines if line.startswith("404")] == [line for line in lines if line.endswith(" /none")]
