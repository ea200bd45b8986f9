"""A plot of processor time: a panel for each curve, as an SVG for light and dark backgrounds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from html import escape

from benchmarks.contest import PROCESSOR, Outcome

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 44, 84
COLUMNS = 2
LEGEND_LINE = 14
UNITS = {
    "rows in the store": "a random row",
    "connections": "a single like",
    "sockets": "a message to a websocket",
    "URLs": "a like, 128 a request",
}
STYLE = """
svg { background: #fff; font: 11px system-ui, sans-serif }
text { fill: #24292f } .grid { stroke: #d0d7de } .title { font-weight: 600; font-size: 13px }
.s0 { --c: #0550ae } .s1 { --c: #bc4c00 } .s2 { --c: #6e7781 } .s3 { --c: #1a7f37 } .s4 { --c: #8250df }
polyline { fill: none; stroke: var(--c); stroke-width: 2 } circle { fill: var(--c) }
.s1 polyline { stroke-dasharray: 6 3 } .s2 polyline { stroke-dasharray: 2 3 }
.s3 polyline { stroke-dasharray: 8 3 2 3 } .s4 polyline { stroke-dasharray: 4 4 }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117 } text { fill: #e6edf3 } .grid { stroke: #30363d }
  .s0 { --c: #58a6ff } .s1 { --c: #f0883e } .s2 { --c: #8b949e } .s3 { --c: #3fb950 } .s4 { --c: #bc8cff }
}
"""

Points = list[tuple[int, float]]


def curves(outcomes: list[Outcome]) -> dict[str, dict[str, Points]]:
    """Curve → who → points: where, and how many microseconds."""
    found: dict[str, dict[str, Points]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        if outcome.case.curve and outcome.of(PROCESSOR):
            who = outcome.contender.partition(",")[0]
            found[outcome.case.curve][who].append((outcome.case.at, outcome.median(PROCESSOR)))
    return {curve: {who: sorted(points) for who, points in series.items()} for curve, series in found.items()}


def short(number: float) -> str:
    """1000 as 1 k."""
    for size, letter in ((1_000_000, " M"), (1000, " k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def ticks(most: float) -> list[float]:
    """Some round numbers from 0 to at least `most`."""
    step = 10 ** math.floor(math.log10(most / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if most / (step * factor) <= 5)
    return [step * n for n in range(math.ceil(most / step) + 1)]


def styles(series: Iterable[str]) -> dict[str, int]:
    """Each contender's style, the same in all panels: this version, another one, then peers from the third style on."""
    peers = [who for who in series if not who.startswith("likd")]
    found = {who: int(who != "likd") for who in series if who.startswith("likd")}
    return found | {who: 2 + number % 3 for number, who in enumerate(peers)}


def _text(x: float, y: float, what: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(what)}</text>'


def _panel(curve: str, series: dict[str, Points]) -> list[str]:
    places = sorted({place for points in series.values() for place, _ in points})
    scale = ticks(max(cost for points in series.values() for _, cost in points))
    low, high = math.log10(places[0]), math.log10(places[-1])
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(place: int) -> float:
        return LEFT + (width * (math.log10(place) - low) / (high - low) if high > low else width / 2)

    def y(cost: float) -> float:
        return TOP + height * (1 - cost / scale[-1])

    parts = [
        _text(LEFT, 18, curve, ' class="title"'),
        _text(LEFT, 33, f"µs of processor time, {UNITS.get(curve, 'a unit')}"),
    ]
    for tick in scale:
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}h{width}"/>')
        parts.append(_text(LEFT - 6, y(tick) + 4, f"{tick:g}", ' text-anchor="end"'))
    parts += [_text(x(place), TOP + height + 16, short(place), ' text-anchor="middle"') for place in places]
    for number, (who, style) in enumerate(styles(series).items()):
        points = series[who]
        drawn = " ".join(f"{x(place):.1f},{y(cost):.1f}" for place, cost in points)
        dots = "".join(
            f'<circle cx="{x(place):.1f}" cy="{y(cost):.1f}" r="3"><title>{escape(who)}, {short(place)}: {cost:.3g} µs'
            "</title></circle>"
            for place, cost in points
        )
        row, column = divmod(number, 2)
        at, line = LEFT + column * width / 2, TOP + height + 34 + row * LEGEND_LINE
        key = f'<polyline points="{at:.1f},{line - 4:.1f} {at + 20:.1f},{line - 4:.1f}"/>' + _text(at + 26, line, who)
        parts.append(f'<g class="s{style}"><polyline points="{drawn}"/>{dots}{key}</g>')
    return parts


def svg(outcomes: list[Outcome]) -> str:
    """The plot; empty if nothing measured is a point of a curve."""
    panels = curves(outcomes)
    if not panels:
        return ""
    rows = math.ceil(len(panels) / COLUMNS)
    size = f'width="{WIDTH * COLUMNS}" height="{HEIGHT * rows}" viewBox="0 0 {WIDTH * COLUMNS} {HEIGHT * rows}"'
    title = f"Processor time against {', '.join(panels)}"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(title)}</title>']
    parts.append(f"<style>{STYLE}</style>")
    for number, (curve, series) in enumerate(panels.items()):
        row, column = divmod(number, COLUMNS)
        parts += [f'<g transform="translate({column * WIDTH} {row * HEIGHT})">', *_panel(curve, series), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"
