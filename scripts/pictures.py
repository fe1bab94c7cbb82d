"""Draws docs/pictures/NAME.svg from NAME.txt.

    python scripts/pictures.py           draws them
    python scripts/pictures.py --check   writes nothing; status 1 if a picture is not what it would draw

A text has a comment line with `#`, the title, and then either lanes with what happens between them:

    lanes: goroutine 1 | channel
    goroutine 1 -> channel: an arrow with its text
    channel: a box
    --- a line through all lanes

or `step: name: text` lines, two spaces deeper for a step within a step. The same text gives the same bytes: no library
measures the letters, a width for each is assumed.
"""

from __future__ import annotations

import sys
import textwrap
from html import escape
from pathlib import Path

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
LANE = 200  # the distance of two lanes
MARGIN = 100
LINE = 16  # the height of a line of text
LETTER = 6.6  # the width of a letter, on average
STYLE = """
text { font: 13px sans-serif; fill: #222 }
.name { font-weight: bold }
.lane, .box, .arrow, .cut { stroke: #5a6b7b; fill: none }
.lane { stroke-dasharray: 2 4 }
.box { fill: #e8f1f2 }
.arrow { stroke: #00796b; stroke-width: 1.5 }
.head { fill: #00796b }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd }
  .box { fill: #24343a }
  .arrow { stroke: #4db6ac }
  .head { fill: #4db6ac }
}
"""


class Sheet:
    """What has been drawn so far; `y` is where the next thing begins."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.y = 16
        self.parts: list[str] = []

    def add(self, tag: str, **attributes: object) -> None:
        given = " ".join(f'{name.strip("_").replace("_", "-")}="{value}"' for name, value in attributes.items())
        self.parts.append(f"<{tag} {given}/>")

    def text(self, x: float, lines: list[str], anchor: str = "middle", kind: str = "") -> None:
        """Lines of text from self.y on, which they move."""
        for line in lines:
            self.y += LINE
            name = f' class="{kind}"' if kind else ""
            self.parts.append(f'<text x="{x:g}" y="{self.y - 4}" text-anchor="{anchor}"{name}>{escape(line)}</text>')

    def svg(self, title: str) -> str:
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.y + 12}" role="img">'
        return "\n".join(
            [head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *self.parts, "</svg>", ""]
        )


def wrapped(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, max(12, int(width / LETTER)))


def draw_lanes(title: str, names: list[str], lines: list[str]) -> str:
    sheet = Sheet(2 * MARGIN + LANE * (len(names) - 1))
    at = {name: MARGIN + LANE * i for i, name in enumerate(names)}
    for name, x in at.items():
        sheet.y = 16
        sheet.text(x, [name], kind="name")
    sheet.y += 10
    top = sheet.y
    for line in lines:
        if line.startswith("---"):
            sheet.y += 8
            sheet.text(sheet.width / 2, [line[3:].strip()], kind="name")
            sheet.add("line", class_="cut", x1=10, x2=sheet.width - 10, y1=sheet.y + 2, y2=sheet.y + 2)
            sheet.y += 10
            continue
        who, _, text = line.partition(": ")
        near, arrow, far = who.partition(" -> ")
        if arrow:
            x1, x2 = at[near], at[far]
            width = max(abs(x2 - x1), LANE) - 16
            sheet.text((x1 + x2) / 2, wrapped(text, width))
            back = 7 if x2 > x1 else -7
            sheet.add("line", class_="arrow", x1=x1, x2=x2 - back, y1=sheet.y + 4, y2=sheet.y + 4)
            sheet.add("path", class_="head", d=f"M{x2} {sheet.y + 4}l{-back} -4v8z")
            sheet.y += 18
        else:
            said = wrapped(text, LANE - 24)
            left, height = at[near] - LANE // 2 + 6, LINE * len(said) + 8
            sheet.add("rect", class_="box", x=left, y=sheet.y, width=LANE - 12, height=height, rx=6)
            sheet.y += 2
            sheet.text(at[near], said)
            sheet.y += 18
    strokes = [f'<line class="lane" x1="{x}" x2="{x}" y1="{top}" y2="{sheet.y}"/>' for x in at.values()]
    sheet.parts = strokes + sheet.parts  # beneath all the rest
    return sheet.svg(title)


def draw_steps(title: str, lines: list[str]) -> str:
    sheet = Sheet(760)
    before: dict[int, int] = {}  # depth -> where the last box of that depth ends
    for line in lines:
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, text = line.strip().removeprefix("step: ").partition(": ")
        x, top = 16 + 40 * depth, sheet.y
        said = wrapped(text, sheet.width - x - 170)
        height = LINE * len(said) + 10
        if depth in before:  # below the step before it
            sheet.add("path", class_="arrow", d=f"M{x + 10} {before[depth]}V{top}")
        elif depth - 1 in before:  # the first within another
            sheet.add("path", class_="arrow", d=f"M{x - 30} {before[depth - 1]}V{top + 13}H{x}")
        sheet.add("rect", class_="box", x=x, y=top, width=sheet.width - x - 16, height=height, rx=6)
        sheet.y += 4
        sheet.text(x + 10, [name], "start", "name")
        sheet.y -= LINE
        sheet.text(x + 140, said, "start")
        sheet.y = top + height + 10
        before = {d: end for d, end in before.items() if d < depth} | {depth: top + height}
    return sheet.svg(title)


def draw(source: str) -> str:
    """The picture of a text."""
    first, *lines = [line.rstrip() for line in source.splitlines() if line.strip()]
    title = first.removeprefix("#").strip()
    if lines[0].startswith("lanes:"):
        return draw_lanes(title, [name.strip() for name in lines[0].removeprefix("lanes:").split("|")], lines[1:])
    return draw_steps(title, lines)


def main() -> int:
    stale = 0
    for source in sorted(PICTURES.glob("*.txt")):
        picture, made = source.with_suffix(".svg"), draw(source.read_text())
        if "--check" not in sys.argv[1:]:
            picture.write_text(made)
        elif not picture.exists() or picture.read_text() != made:
            print(f"{picture.name} is not what scripts/pictures.py draws", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
