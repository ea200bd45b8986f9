"""Badges: a count as a picture, 20 pixels high, as is usual for badges."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from html import escape
from typing import Literal, TypeAlias

import attrs

from likd.model import IMPRESSIONS, LIKES
from likd.web.figures import DASH, compact, whole

Style: TypeAlias = Literal["solid", "plain", "plain-dark"]
BADGES_MAX = 4096
"""How many drawn badges are kept, about a kilobyte each."""
_ICON_WIDTH = 16
_HEART = (
    '<path transform="translate(6 3.5) scale(.54)" d="M12 21.3 3.6 12.9a5.7 5.7 0 0 1 8-8.1l.4.4.4-.4a5.7 5.7 0 0 1'
    ' 8 8.1z" fill="{}"/>'
)
_EYE = (
    '<path transform="translate(6 3.5) scale(.54)" d="M2 12s3.6-6.5 10-6.5S22 12 22 12s-3.6 6.5-10 6.5S2 12 2 12z"'
    ' fill="none" stroke="{0}" stroke-width="2.6"/><circle cx="12.5" cy="10" r="1.7" fill="{0}"/>'
)
_ICONS: Mapping[str, str] = {LIKES: _HEART, "net": _HEART, IMPRESSIONS: _EYE}
_UNKNOWN = "#5f646c"


@attrs.frozen
class _Colours:
    """The colours of a plain badge."""

    paper: str
    edge: str
    ink: str
    like: str
    view: str


_SOLID = _Colours("#33373d", "", "#fff", "#c2255c", "#2369a8")
_PLAIN: Mapping[Style, _Colours] = {
    "plain": _Colours("#ffffff", "#85888f", "#1b1c1f", "#c2255c", "#2369a8"),
    "plain-dark": _Colours("#16181b", "#7b818b", "#ecedef", "#ff7da7", "#74b3ef"),
}


@lru_cache(maxsize=BADGES_MAX)
def draw(label: str, by: str, number: int | None, style: Style) -> bytes:
    """An SVG of the count `by`, called `label`; a `number` of None is not known."""
    shown, exact = (DASH, "not known") if number is None else (compact(number), whole(number))
    icon = _ICONS.get(by, "")
    start = 6 + (_ICON_WIDTH if icon else 0)
    left, right = start + round(len(label) * 6.6) + 6, round(len(shown) * 6.6) + 12
    width, middle = left + right, left + right / 2
    colours = _PLAIN.get(style, _SOLID)
    tone = colours.view if by == IMPRESSIONS else colours.like
    name = escape(label)
    if style == "solid":
        box = f"""<clipPath id="r"><rect width="{width}" height="20" rx="4"/></clipPath>
<g clip-path="url(#r)"><rect width="{left}" height="20" fill="{colours.paper}"/>
<rect x="{left}" width="{right}" height="20" fill="{_UNKNOWN if number is None else tone}"/></g>"""
    else:
        box = f"""<rect x=".5" y=".5" width="{width - 1}" height="19" rx="4" fill="{colours.paper}"
stroke="{colours.edge}"/>"""
        middle -= 2
    weight = "" if style == "solid" else ' font-weight="bold"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img"
aria-label="{name}: {exact}">
<title>{name}: {exact}</title>
{box}
{icon.format(colours.ink if style == "solid" else tone)}
<g fill="{colours.ink}" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{start}" y="14">{name}</text>
<text x="{middle:g}" y="14" text-anchor="middle"{weight}>{shown}</text></g>
</svg>
""".encode()
