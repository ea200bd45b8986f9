"""Canonical URLs: what counts as one URL."""

from __future__ import annotations

import can_ada

URL_BYTES_MAX = 2048
EXPECTED = f"an absolute http or https URL of at most {URL_BYTES_MAX} bytes"

_SCHEMES = ("http://", "https://")


def canonical(url: str) -> str:
    """`url` in its canonical WHATWG form, without its fragment. Raises ValueError if it is not what is EXPECTED.

    The limit holds for the URL as it is written and for its canonical form, which is ASCII.
    """
    if not url.startswith(_SCHEMES) and not url[:8].lower().startswith(_SCHEMES):
        raise ValueError(f"expected {EXPECTED}")
    # A character is at least a byte, so only URLs near the limit need to be encoded to be measured.
    if len(url) > URL_BYTES_MAX // 4 and len(url.encode(errors="replace")) > URL_BYTES_MAX:
        raise ValueError(f"expected {EXPECTED}")
    try:
        parsed = can_ada.parse(url)
    except (ValueError, TypeError):  # TypeError: a lone surrogate
        raise ValueError(f"expected {EXPECTED}") from None
    if parsed.has_hash():
        parsed.hash = ""
    href: str = parsed.href
    if len(href) > URL_BYTES_MAX:
        raise ValueError(f"expected {EXPECTED}")
    return href
