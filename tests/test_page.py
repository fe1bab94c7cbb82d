"""The live page in a real browser: each of its sections, by mouse and by keyboard, narrow and dark, and nothing from
elsewhere.

What does not live here: the sentences of the programs in trouble, and who may read the page (test_see.py); what is
recorded (test_recording.py).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from browser import PATIENCE_S, Browser
from test_see import PROGRAMS, line, viewed

pytestmark = [pytest.mark.once, pytest.mark.skipif(Browser.path() is None, reason="no Chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all."""
    found = Browser()
    yield found
    found.close()


def text(browser: Browser, selector: str) -> str:
    """What an element says, once it says something."""
    return str(browser.until(f"document.querySelector({json.dumps(selector)})?.textContent"))


def test_every_section_works(browser: Browser) -> None:
    """Also by keyboard; nothing is wider than the window; neither script nor policy complains."""
    with viewed(PROGRAMS / "partial.py") as address:
        browser.view(1280, 900, dark=False)
        browser.go(address)
        found = text(browser, "#findings .bad")
        assert "2 goroutines wait for each other" in found
        assert line("partial") in found
        assert text(browser, "#groups").count("partial.py") >= 4
        assert "held by goroutine" in text(browser, "#waits")
        assert browser.until("document.querySelector('#steps').children.length") > 10
        assert browser.run("document.querySelectorAll('#lanes canvas').length") >= 1
        for width in (1280, 420):
            for dark in (False, True):
                browser.view(width, 900, dark)
                assert browser.run("document.documentElement.scrollWidth") <= width
                light = browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(246, 247, 249)"
                assert light is not dark
        browser.view(1280, 900, dark=False)
        browser.run("document.querySelector('[data-sort=state]').click()")
        states = json.loads(browser.run("JSON.stringify([...document.querySelectorAll('#groups tr')].map("
                                        "(row) => row.children[3].textContent))"))  # fmt: skip
        assert states == sorted(states, reverse=True)
        browser.run(
            "const f = document.querySelector('#filter'); f.value = 'Mutex'; f.dispatchEvent(new Event('input'))"
        )
        assert re.fullmatch(r"\d of \d kinds", text(browser, "#shown"))
        assert set(browser.run("[...document.querySelectorAll('#groups tr')].map((row) => row.children[3].textContent)"
                               ".join()").split(",")) == {"sync.Mutex.Lock"}  # fmt: skip
        origin = re.sub(r"\?.*", "", address)
    assert browser.wrong() == []
    assert {each for each in browser.asked if not each.startswith((origin, "about:", "data:", "blob:"))} == set()


def test_a_lane_leads_to_the_goroutine_that_ran(browser: Browser) -> None:
    """Where it is selected with the mouse: what has run then."""
    with viewed(PROGRAMS / "hog.py") as address:
        browser.view(1280, 900, dark=False)
        browser.go(address)
        browser.until("document.querySelectorAll('#lanes canvas').length == 1")
        # A colour is drawn where something was seen to run.  The lane moves, and so may what is above: a click may miss.
        coloured = """(() => {
              const canvas = document.querySelector('#lanes canvas'), pen = canvas.getContext('2d');
              for (let x = canvas.width - 1; x >= 0; x--) if (pen.getImageData(x, 9, 1, 1).data[3]) {
                canvas.scrollIntoView();
                const box = canvas.getBoundingClientRect();
                return JSON.stringify([box.left + (x + 0.5) / canvas.width * box.width, box.top + box.height / 2]);
              }
              return '';
            })()"""
        end = time.monotonic() + PATIENCE_S
        while not browser.run("document.querySelector('#detail').open"):
            assert time.monotonic() < end, "no click opened it"
            browser.click(*json.loads(browser.until(coloured)))
        assert "hog.py" in text(browser, "#story")
    assert browser.wrong() == []


def test_a_goroutine_is_unfolded_by_keyboard(browser: Browser) -> None:
    """With its stack, the goroutines that led to it, and what it waits for."""
    with viewed(PROGRAMS / "convoy.py") as address:
        browser.go(address)
        browser.until("document.querySelectorAll('#groups button').length > 1")
        browser.run("document.querySelector('#groups button').focus()")
        browser.key("Enter", 13, "\r")
        browser.until("document.querySelector('#detail').open")
        assert "main.worker" in text(browser, "#story")
        assert re.match(r"goroutine 1 \[sleep\]", text(browser, "#parents button"))
        # Each of its waits is a line: it gets the lock 50 times a second, in turn.
        browser.until("document.querySelectorAll('#history li').length > 2")
        history = browser.run(
            "[...document.querySelectorAll('#history li')].map((each) => each.textContent).join('\\n')"
        )
        assert "[sync.Mutex.Lock]" in history
        assert re.search(r"ran \d+ times in between", history)
        browser.run("document.querySelector('#parents button').focus()")
        browser.key("Enter", 13, "\r")
        browser.until("document.querySelector('#who').textContent.startsWith('goroutine 1 ')")
        assert text(browser, "#parents") == "none that lives"
        browser.key("Escape", 27)
        browser.until("!document.querySelector('#detail').open")
    assert browser.wrong() == []


def test_channels_and_locks_have_rates(browser: Browser) -> None:
    with viewed(PROGRAMS / "queue_grows.py") as address:
        browser.go(address)
        cells = browser.until("document.querySelector('#waits [data-name=\"each second\"]')?.textContent")
        row = text(browser, "#waits tr")
        assert "100 of 100" in row
        assert re.search(r"\d+ \[chan send\]", row)
        cells = browser.until("(document.querySelector('#waits [data-name=\"each second\"]')?.textContent || '')"
                              ".match(/[0-9.]+ received, [0-9.]+ sent/)?.[0]")  # fmt: skip
        received, sent = map(float, re.findall(r"[\d.]+", cells))
        assert received > 0
        assert sent > 0
    with viewed(PROGRAMS / "convoy.py") as address:
        browser.go(address)
        assert browser.until("(document.querySelector('#waits [data-name=\"each second\"]')?.textContent || '')"
                             ".match(/[0-9.]+k? taken/)?.[0]")  # fmt: skip
    assert browser.wrong() == []


def test_flame_graphs_traces_and_the_flight_recorder(browser: Browser) -> None:
    """They are drawn in the page, and saved as files."""
    with viewed(PROGRAMS / "convoy.py") as address:
        browser.go(address)
        browser.until("!!document.querySelector('#findings .good, #findings .bad')")
        browser.run("document.querySelector('#seconds').value = 1")
        browser.run("document.querySelector('[data-kind=mutex] button').click()")
        browser.until("!document.querySelector('#flame').hidden")
        parts = browser.run("[...document.querySelectorAll('.part')].map((each) => each.textContent).join()")
        assert parts.startswith("all,main.worker,main.lookup")
        assert re.match(r"mutex: all, [\d.]+ (s|ms), 100.0 %", text(browser, "#part"))
        browser.run("document.querySelector('.part').focus()")
        browser.key("ArrowDown", 40)
        browser.key("ArrowDown", 40)
        assert re.match(r"main\.lookup convoy\.py:\d+, ", text(browser, "#part"))
        browser.key("Enter", 13, "\r")
        assert browser.run("document.querySelectorAll('.leads').length") == 2
        assert "main.lookup" in browser.run("document.activeElement.getAttribute('aria-label')")
        browser.run("document.querySelector('#whole').click()")
        assert browser.run("document.querySelectorAll('.leads').length") == 0
        browser.view(420, 900, dark=True)
        browser.run("drawFlame()")
        assert browser.run("document.documentElement.scrollWidth") <= 420
        assert browser.run("document.querySelectorAll('.part').length") >= 3
        browser.run("document.querySelectorAll('[data-kind=goroutine] button')[1].click()")
        assert browser.saved("goroutine.pb.gz")[:2] == b"\x1f\x8b"
        browser.run("document.querySelector('#trace').click()")
        assert browser.saved("gort.trace").startswith(b"go 1.")
        assert browser.run("document.querySelector('#kept').disabled")
        browser.run("document.querySelector('#flight').click()")
        browser.until("!document.querySelector('#kept').disabled")
        browser.run("document.querySelector('#kept').click()")
        assert browser.saved("flight.trace").startswith(b"go 1.")
        browser.run("document.querySelector('#flight').click()")
        browser.until("document.querySelector('#kept').disabled")
        # What is refused is said.
        browser.run("ask('/profile', { kind: 'none' }, '')")
        browser.until("document.querySelector('#recording').textContent.startsWith('there are goroutine')")
    assert [each for each in browser.wrong() if "404" not in each] == []
