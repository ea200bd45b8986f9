"""What only an admin may do to the counts: merge URLs, load starting counts."""

from __future__ import annotations

import attrs
import msgspec

from likd.events import Rows, add
from likd.keys import KEY
from likd.merging import MergeError, Merger
from likd.store import Store, StoreError
from likd.totals import Totals
from likd.urls import EXPECTED, UrlRules
from likd.web.answer import Answer
from likd.web.operations import Operations, store_away
from likd.web.problem import Problem
from likd.wire import explain, short

COUNT_MAX = 2**53
LOAD_LINES_MAX = 10_000


class _Merge(msgspec.Struct, forbid_unknown_fields=True):
    old: str
    new: str


@attrs.frozen
class Admin:
    """Merges and loads. They raise Problem for everything a client can do wrong."""

    operations: Operations
    merger: Merger
    totals: Totals
    store: Store
    canonical: UrlRules
    names: tuple[str, ...]
    """The counts that can be loaded."""

    async def merge(self, body: bytes) -> Answer:
        """Merge one URL into another."""
        try:
            asked = msgspec.json.decode(body, type=_Merge)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            wrong = explain(error)
            raise Problem(422, wrong.detail, members={**wrong.place, "expected": "fields old and new"}) from None
        old, new = (self._url(field, url) for field, url in (("old", asked.old), ("new", asked.new)))
        try:
            merged = await self.merger.merge(old, new)
        except MergeError as error:
            raise Problem(422, str(error), members={"field": "old"}) from None
        except StoreError as error:
            raise store_away(error) from None
        row = self.operations.row(new, merged.counts)
        return Answer(200, msgspec.json.encode({**row, "merged": old, "liked_both": merged.liked_both}))

    async def load(self, body: bytes, key: str | None) -> Answer:
        """Add starting counts, once for each `key` for ever."""
        if key is None or not KEY.fullmatch(key):
            members = {"field": "Idempotency-Key", "expected": "1 to 128 printable ASCII characters without spaces"}
            raise Problem(400, "starting counts come with an Idempotency-Key", members=members)
        rows = self._rows(body)
        try:
            fresh = await self.store.load(key, rows)
        except StoreError as error:
            raise store_away(error) from None
        self.totals.forget(rows)
        return Answer(200, msgspec.json.encode({"loaded": len(rows) if fresh else 0, "already": not fresh}))

    def _rows(self, body: bytes) -> Rows:
        lines = [(number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
        if len(lines) > LOAD_LINES_MAX:
            raise Problem(413, f"starting counts come in at most {LOAD_LINES_MAX} lines")
        rows: Rows = {}
        for number, line in lines:
            try:
                fields = msgspec.json.decode(line, type=dict[str, str | int])
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Problem(422, str(error), members={"line": number}) from None
            url = fields.pop("url", None)
            if not isinstance(url, str):
                raise Problem(422, "the URL is missing", members={"line": number, "field": "url"})
            href = self._url("url", url, number)
            counts = rows.setdefault(self.totals.aliases.get(href, href), {})
            for name, n in fields.items():
                if name not in self.names or not isinstance(n, int) or not 0 <= n <= COUNT_MAX:
                    members: dict[str, object] = {"line": number, "field": short(name)[1:-1]}
                    members["expected"] = f"numbers from 0 to 2^53 named {', '.join(self.names)}"
                    raise Problem(422, f"{short(name)} is {short(str(n))}", members=members)
                add(counts, {name: n})
        return rows

    def _url(self, field: str, url: str, line: int | None = None) -> str:
        try:
            return self.canonical(url)
        except ValueError:
            members = {"line": line, "field": field, "expected": EXPECTED}
            raise Problem(422, f"{field} is {short(url)}", members=members) from None
