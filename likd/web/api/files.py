"""The files that browsers load: the button's script, and the pages' scripts and styles."""

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
    # Always the same, so that a copy cached from a plain load also serves one with `crossorigin`.
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
"""Comments on lines of their own. No string in our scripts has a line that begins like one."""
_SCRIPT_OF_ANY_DIGEST = re.compile(r"/likd\.[^/]+\.js")


@attrs.frozen
class Asset:
    """A file for browsers, as it is and compressed."""

    body: bytes
    content_type: str
    compressed: bytes = attrs.field(init=False)
    digest: str = attrs.field(init=False)
    """The version of this content."""
    integrity: str = attrs.field(init=False)
    """The value by which a page demands exactly this content (SRI)."""

    @classmethod
    def of(cls, name: str, source: bytes) -> Asset:
        """The file `name` as browsers get it: scripts without comments."""
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
        """The file as an answer, cached as `cache` says."""
        headers = {"Cache-Control": cache, **ANY_PAGE}
        if compressed:
            headers["Content-Encoding"] = "gzip"
        return tagged(Answer(200, self.compressed if compressed else self.body, self.content_type, headers))


class Files:
    """All files by the paths at which browsers request them, below `base`; the answers are made once."""

    def __init__(self, base: str = "") -> None:
        sources = {
            path.name: path.read_bytes()
            for path in files("likd.web").joinpath("static").iterdir()
            if PurePath(path.name).suffix in _TYPES
        }
        self.description: dict[str, Any] = msgspec.json.decode(sources[DESCRIPTION])
        """The API's description in OpenAPI."""
        self.description["info"]["version"] = __version__
        self.description["servers"] = [{"url": base or "/"}]
        sources[DESCRIPTION] = msgspec.json.encode(self.description)
        self.mark = hashlib.blake2b(b"".join(sources.values()), digest_size=4).hexdigest()
        """The version of all these files together."""
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
            # After an update, a page with the old name still gets a button, unless it demands integrity.
            known = self._answers[f"/{SCRIPT}"]
        return conditional(known[compressed], if_none_match)


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client with this Accept-Encoding takes gzip."""
    return parse_accept_header(accept_encoding, Accept).quality("gzip") > 0


def _both(asset: Asset, cache: str) -> Mapping[bool, Answer]:
    return {compressed: asset.answer(cache, compressed=compressed) for compressed in (False, True)}
