"""Query parameters, as both lanes read them."""

from __future__ import annotations

import codecs
from urllib.parse import unquote_to_bytes

_ERRORS = "likd.percent"


def query_values(query: bytes, name: str) -> list[str]:
    """The values of the parameter `name`, in their order; "" for one without a value. Never raises.

    A value is UTF-8 in percent escapes, with `+` for a space. What is not UTF-8 in it stays in percent escapes,
    as a URL would have it: so `%ff` and `%25FF` both mean the URL with `%FF`, and no two URLs fall together.
    The head is what bounds their number.
    """
    wanted = name.encode()
    found: list[str] = []
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == wanted or _decoded(key) == name:
            found.append(_decoded(value))
    return found


def query_value(query: bytes, name: str, default: str = "") -> str:
    """The first value of the parameter `name`, or `default`."""
    return next(iter(query_values(query, name)), default)


def _decoded(data: bytes) -> str:
    if b"+" in data:
        data = data.replace(b"+", b" ")
    if b"%" in data:
        data = unquote_to_bytes(data)
    return data.decode(errors=_ERRORS)


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"%{byte:02X}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_ERRORS, _escape)
