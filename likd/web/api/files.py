"""The files that browsers load: the button's script, and what pages are made of."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePath
from typing import Any

import attrs
import msgspec
from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

from likd import __version__
from likd.web.answers import Answer, conditional, tagged
from likd.web.problems import Problem

SCRIPT = "likd.js"
DESCRIPTION = "openapi.json"
SCRIPT_CACHE = "public, max-age=300"
FOREVER = "public, max-age=31536000, immutable"
ANY_PAGE = {
    # Always the same: a copy that a browser keeps from a plain load serves one with `crossorigin`, too.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Vary": "Accept-Encoding",
}

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_COMMENTS = re.compile(rb"^[ \t]*(?://[^\n]*|/\*(?:[^*]|\*(?!/))*\*/[ \t]*)\n", re.MULTILINE)
"""Comments that have their lines to themselves. No string of our scripts has a line that begins like one."""
_SCRIPT_OF_ANY_DIGEST = re.compile(r"/likd\.[^/]+\.js")


@attrs.frozen
class Asset:
    """A file for browsers, as it is and compressed."""

    body: bytes
    content_type: str
    compressed: bytes = attrs.field(init=False)
    digest: str = attrs.field(init=False)
    """Names this content among all there were."""
    integrity: str = attrs.field(init=False)
    """What a page says that wants this content and no other (SRI)."""

    @classmethod
    def of(cls, name: str, source: bytes) -> Asset:
        """The file `name` as browsers get it: scripts without their comments."""
        suffix = PurePath(name).suffix
        return cls(_COMMENTS.sub(b"", source) if suffix == ".js" else source, _TYPES[suffix])

    @compressed.default
    def _compressed(self) -> bytes:
        return gzip.compress(self.body, mtime=0)

    @digest.default
    def _digest(self) -> str:
        return hashlib.blake2b(self.body, digest_size=8).hexdigest()

    @integrity.default
    def _integrity(self) -> str:
        return "sha384-" + base64.b64encode(hashlib.sha384(self.body).digest()).decode()

    def answer(self, cache: str, *, compressed: bool) -> Answer:
        """It as an answer that may be kept as `cache` says."""
        headers = {"Cache-Control": cache, **ANY_PAGE}
        if compressed:
            headers["Content-Encoding"] = "gzip"
        return tagged(Answer(200, self.compressed if compressed else self.body, self.content_type, headers))


class Files:
    """All files under the paths by which browsers ask for them, below `base`; their answers are made once."""

    def __init__(self, base: str = "") -> None:
        sources = {
            path.name: path.read_bytes()
            for path in files("likd.web").joinpath("static").iterdir()
            if PurePath(path.name).suffix in _TYPES
        }
        self.description: dict[str, Any] = msgspec.json.decode(sources[DESCRIPTION])
        """What the API is, as OpenAPI says it."""
        self.description["info"]["version"] = __version__
        self.description["servers"] = [{"url": base or "/"}]
        sources[DESCRIPTION] = msgspec.json.encode(self.description)
        self.mark = hashlib.blake2b(b"".join(sources.values()), digest_size=4).hexdigest()
        """Names these files among all there were."""
        assets = {name: Asset.of(name, source) for name, source in sources.items()}
        self.script = assets[SCRIPT]
        self._answers = {f"/static/{name}": _both(asset, SCRIPT_CACHE) for name, asset in assets.items()}
        self._answers[f"/{SCRIPT}"] = _both(self.script, SCRIPT_CACHE)
        self._answers[f"/likd.{self.script.digest}.js"] = _both(self.script, FOREVER)
        self._answers[f"/{DESCRIPTION}"] = _both(assets[DESCRIPTION], "no-cache")

    def answer(self, path: str, *, compressed: bool, if_none_match: str) -> Answer:
        """The file at `path`, gzipped if it may be `compressed`. Raises Problem."""
        known = self._answers.get(path)
        if known is None:
            if not _SCRIPT_OF_ANY_DIGEST.fullmatch(path):
                raise Problem(404, "there is no such file")
            # After an update, a page with the old name has a button all the same, unless it asks for integrity.
            known = self._answers[f"/{SCRIPT}"]
        return conditional(known[compressed], if_none_match)


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client that says this of itself takes gzip."""
    return parse_accept_header(accept_encoding, Accept).quality("gzip") > 0


def _both(asset: Asset, cache: str) -> Mapping[bool, Answer]:
    return {compressed: asset.answer(cache, compressed=compressed) for compressed in (False, True)}
