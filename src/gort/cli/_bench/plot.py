"""The plot: one SVG, a group of bars for each row, logarithmic, drawn without any plotting library.

Colours are given to peers by name, so that two runs with different peers still look alike.
"""

from __future__ import annotations

from html import escape
from math import ceil, floor, log10
from pathlib import Path

from gort.cli._bench.measure import Result
from gort.cli._bench.peers import Peer

COLOURS = {
    "gort": "#00758f",
    "gort-pure": "#7fb9c6",
    "go": "#5ac8e8",
    "gort-aio": "#9fae2f",
    "asyncio": "#e0a030",
    "uvloop": "#c8641e",
    "trio": "#7a5ba6",
    "gevent": "#5f9e4a",
    "threads": "#8a8a8a",
    "tonio": "#b23a48",
}
LEFT, RIGHT, TOP, BAR, GAP = 120, 90, 70, 11, 12
WIDTH = 960


def draw(results: list[Result], peers: list[Peer], title: str) -> str | None:
    """The SVG's text, or None when there is nothing to draw."""
    shown = [r for r in results if r.row.unit == "ns" and r.median("gort")]
    names = [p.key for p in peers if any(r.median(p.key) for r in shown)]
    values = [value for r in shown for name in names if (value := r.median(name))]
    if not values:
        return None
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    high = max(high, low + 1)
    scale = (WIDTH - LEFT - RIGHT) / (high - low)

    def x(value: float) -> float:
        return LEFT + (log10(value) - low) * scale

    heights = [BAR * sum(r.median(n) is not None for n in names) + GAP for r in shown]
    height = TOP + sum(heights) + 30
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT}" y="36" fill="#555">median ns per operation, logarithmic; less is better</text>',
    ]
    at = float(LEFT)
    for name in names:
        out.append(f'<rect x="{at:.0f}" y="44" width="10" height="10" fill="{COLOURS.get(name, "#333")}"/>')
        out.append(f'<text x="{at + 14:.0f}" y="53">{escape(name)}</text>')
        at += 34 + 6.5 * len(name)
    for power in range(low, high + 1):
        at = x(10.0**power)
        out.append(f'<line x1="{at:.1f}" y1="{TOP - 6}" x2="{at:.1f}" y2="{height - 24}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.1f}" y="{height - 10}" text-anchor="middle" fill="#555">{power_text(power)}</text>')
    y = float(TOP)
    for result, tall in zip(shown, heights, strict=True):
        out.append(
            f'<text x="{LEFT - 8}" y="{y + (tall - GAP) / 2 + 4:.1f}" text-anchor="end">{escape(result.row.key)}</text>'
        )
        for name in names:
            value = result.median(name)
            if value is None:
                continue
            out.append(
                f'<rect x="{LEFT}" y="{y:.1f}" width="{max(x(value) - LEFT, 1):.1f}" height="{BAR - 1}" '
                f'fill="{COLOURS.get(name, "#333")}"/>'
            )
            out.append(
                f'<text x="{x(value) + 4:.1f}" y="{y + BAR - 2:.1f}" font-size="9" fill="#333">{value:,.0f}</text>'
            )
            y += BAR
        y += GAP
    out.append("</svg>")
    return "\n".join(out) + "\n"


def power_text(power: int) -> str:
    named = {0: "1 ns", 3: "1 µs", 6: "1 ms", 9: "1 s"}
    if power in named:
        return named[power]
    unit, zeros = ("ns", power) if power < 3 else ("µs", power - 3) if power < 6 else ("ms", power - 6)
    return f"{10**zeros:g} {unit}"


def write(folder: Path, results: list[Result], peers: list[Peer], title: str) -> Path | None:
    text = draw(results, peers, title)
    if text is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.svg"
    file.write_text(text, encoding="utf-8")
    return file
