"""Query parameters, as both lanes read them."""

from __future__ import annotations

import codecs
from urllib.parse import unquote_to_bytes

_ERRORS = "likd.percent"


def query_values(query: bytes, name: str) -> list[str]:
    """The values of the parameter `name`, in order; "" for one without a value. Never raises.

    A value is UTF-8 in percent escapes, with `+` for a space. Bytes that are not UTF-8 stay in percent escapes, as in a
    URL: `%ff` and `%25FF` both mean the URL with `%FF`, and different URLs stay different. The size of the head bounds
    their number.
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
