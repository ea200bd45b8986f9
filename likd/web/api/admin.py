"""What only an admin may do: merge and delete URLs, load starting counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

import attrs
import msgspec
import structlog

from likd.durability.idempotency import KEY, KeyReused
from likd.errors import StoreError, TotalTooLarge
from likd.ingest.bodies import without_bom
from likd.ingest.schema import COUNT_MAX, explain, short
from likd.ingest.urls import EXPECTED, UrlRules
from likd.model import Rows, add, total
from likd.queries.merging import STORE_SECONDS_MAX, MergeBusy, MergeError, Merger, MergeRefused
from likd.queries.totals import Totals
from likd.runtime.cooperative import Steps, finish, finish_in_turns
from likd.stores.protocol import TOTAL_MAX, ImportStore
from likd.stores.sites import site_store
from likd.web.access.caller import Caller
from likd.web.answers import Answer
from likd.web.api.counts import CountReads
from likd.web.api.event_bodies import once
from likd.web.api.histories import number as number_of
from likd.web.api.urls import Urls
from likd.web.problems import Problem, store_away

ALIASES_MAX = 1000
LOAD_LINES_MAX = 10_000
SLICE_LINES = 100
TIME = "time"
SECONDS_DIGITS_MAX = 11
CLOCKS_APART_SECONDS = 3600
TOTAL_EXPECTED = "a total of at most 2^62, including what is already there"

log = structlog.get_logger(__name__)


class _Merge(msgspec.Struct, forbid_unknown_fields=True):
    old: str
    new: str
    wait: Annotated[float, msgspec.Meta(ge=0, le=STORE_SECONDS_MAX)] = STORE_SECONDS_MAX


_MERGE_EXPECTED = f"fields old and new, and wait from 0 to {STORE_SECONDS_MAX:g} seconds"


class _Reset(msgspec.Struct, forbid_unknown_fields=True):
    url: str = ""
    site: str = ""


@attrs.frozen
class Admin:
    """Merges, deletes and loads. Every error of a client raises Problem."""

    urls: Urls
    counts: CountReads
    merger: Merger
    totals: Totals
    store: ImportStore
    canonical: UrlRules
    names: tuple[str, ...]
    """The counts that can be loaded."""
    clock: Callable[[], float] = time.time
    """Seconds since 1970, by which times of loaded counts are in the past."""

    async def merge(self, body: bytes, *, dry_run: bool = False) -> Answer:
        """Merge one URL into another; with `dry_run`, only say what the result would be."""
        asked = _read(body, _Merge, _MERGE_EXPECTED)
        old, new = (self._url(field, url) for field, url in (("old", asked.old), ("new", asked.new)))
        if dry_run:
            return await self._would_merge(old, new)
        with _answered("merged"):
            merged = await self.merger.merge(old, new, store_seconds=asked.wait)
            if merged.pending:
                return Answer(202, msgspec.json.encode({"url": merged.new, "merged": old, "pending": True}))
            counts = (await self.totals.counts([merged.new]))[merged.new]
        row = self.counts.row(merged.new, counts)
        row |= {"merged": old, "pending": False, "liked_both": merged.liked_both}
        return Answer(200, msgspec.json.encode(row))

    async def _would_merge(self, old: str, new: str) -> Answer:
        aliases = self.totals.ledger.aliases
        new = aliases(new)
        if aliases(old) == new:
            raise Problem(
                422, "both are already the same URL", members={"field": "old", "expected": "two different URLs"}
            )
        with _answered("merged"):
            counts = await self.totals.counts([old, new])
            key = self.merger.actor_keys.of_url
            store = site_store(self.store)
            both = await store.liked_both(key(old), key(new)) if store is not None else None
        row = self.counts.row(new, total([counts[old], counts[new]]))
        row |= {"merged": old, "dry_run": True, "liked_both": both}
        row["known"] = {"old": any(counts[old].values()), "new": any(counts[new].values())}
        return Answer(200, msgspec.json.encode(row))

    async def erase(self, url: str, site: str, caller: Caller, key: str | None, *, keep: bool) -> Answer:
        """Delete a URL or a site, or reset it if it is to `keep` its place. With a `key`, this is done only once."""
        if bool(url) == bool(site):
            raise Problem(
                422, "exactly one URL or one site is needed", members={"field": "url", "expected": "url or site"}
            )
        if site:
            told = {"site": self.urls.readable_site(site, caller)}
            target = f"//{told['site']}"
        else:
            told = {"url": self._url("url", url)}
            target = told["url"]
        with _answered("erased"):
            identity = None if key is None else once(key, f"{target} {keep}", caller)
            pending = await self.merger.erase(target, keep=keep, key=identity)
        told_done = {"reset" if keep else "deleted": True, "pending": pending}
        return Answer(202 if pending else 200, msgspec.json.encode({**told, **told_done}))

    async def reset(self, body: bytes, caller: Caller, key: str | None) -> Answer:
        """Reset a URL or a site."""
        asked = _read(body, _Reset, "a field url or site")
        return await self.erase(asked.url, asked.site, caller, key, keep=True)

    def aliases(self, url: str, limit: str, after: str) -> Answer:
        """The URLs that were merged into others, or into `url`, in order."""
        most = number_of("limit", limit, 1, ALIASES_MAX)
        aliases = self.totals.ledger.aliases
        olds = aliases.of(aliases(self._url("url", url))) if url else sorted(aliases)
        left = [old for old in olds if old > after]
        rows = [{"old": old, "new": aliases(old)} for old in left[:most]]
        more = left[most - 1] if len(left) > most else None
        return Answer(200, msgspec.json.encode({"aliases": rows, "total": len(olds), "next": more}))

    async def remove_alias(self, old: str) -> Answer:
        """Remove an alias: a merged URL counts for itself again."""
        href = self._url("old", old)
        with _answered("removed"):
            await self.merger.remove_alias(href)
        return Answer(200, msgspec.json.encode({"old": href, "removed": True}))

    async def load(self, body: bytes, key: str | None, *, dry_run: bool = False) -> Answer:
        """Add starting counts, only once for each `key`, for ever; with `dry_run`, only check them and the key."""
        if key is None or not KEY.fullmatch(key):
            members = {"field": "Idempotency-Key", "expected": "1 to 128 printable ASCII characters without spaces"}
            raise Problem(400, "starting counts need an Idempotency-Key", members=members)
        past: dict[int, Rows] = {}
        body = without_bom(body)
        rows = await finish_in_turns(self._rows(body, past))
        try:
            if dry_run:
                already = await self.store.loaded(key)
                return Answer(200, msgspec.json.encode({"loaded": 0, "already": already, "dry_run": True}))
            fresh = await self.store.load(key, rows, past)
        except TotalTooLarge as error:
            raise _too_large(error, self._line_of(body, error)) from None
        except StoreError as error:
            raise store_away(error) from None
        finally:
            # The answer that got lost may have been a success.
            self.totals.forget([*rows, *map(self.totals.ledger.aliases, rows)])
        log.info("loaded", urls=len(rows) if fresh else 0, already=not fresh, key=key)
        return Answer(200, msgspec.json.encode({"loaded": len(rows) if fresh else 0, "already": not fresh}))

    def _rows(self, body: bytes, past: dict[int, Rows]) -> Steps[Rows]:
        """The rows; those with a time are also put into `past`, by minute. Raises Problem."""
        rows: Rows = {}
        latest = self.clock() + CLOCKS_APART_SECONDS
        lines = 0
        for number, line in enumerate(_lines(body), start=1):
            if number % SLICE_LINES == 0:
                yield
            if not line.strip():
                continue
            lines += 1
            if lines > LOAD_LINES_MAX:
                raise Problem(413, f"a request may have at most {LOAD_LINES_MAX} lines of starting counts")
            fields = _decode(line, number)
            href = self._url("url", _text(fields.pop("url", None), number), number)
            href = self.totals.ledger.aliases(href)
            counts = rows.setdefault(href, {})
            minute = _minute(fields.pop(TIME), latest, number) if TIME in fields and TIME not in self.names else None
            then = None if minute is None else past.setdefault(minute, {}).setdefault(href, {})
            for name, value in fields.items():
                text = bytes(value).decode(errors="replace")
                n = int(text) if text.isdecimal() and len(text) <= len(str(COUNT_MAX)) else COUNT_MAX + 1
                if name not in self.names or n > COUNT_MAX:
                    members: dict[str, object] = {"line": number, "field": short(name)[1:-1]}
                    members["expected"] = f"whole numbers from 0 to 2^53 named {', '.join(self.names)}"
                    raise Problem(422, f"{short(name)} is {short(text)}", members=members)
                add(counts, {name: n})
                if then is not None:
                    add(then, {name: n})
                if counts[name] > TOTAL_MAX:
                    raise _too_large(TotalTooLarge(href, name), number)
        return rows

    def _line_of(self, body: bytes, error: TotalTooLarge) -> int | None:
        """The problem of the first line with the count that became too large."""
        for number, line in enumerate(body.split(b"\n"), start=1):
            if line.strip() and finish(self._rows(line, {})).get(error.url, {}).get(error.name):
                return number
        return None

    def _url(self, field: str, url: str, line: int | None = None) -> str:
        try:
            return self.canonical(url)
        except ValueError:
            members = {"line": line, "field": field, "expected": EXPECTED}
            raise Problem(422, f"{field} is {short(url)}", members=members) from None


T = TypeVar("T")


def _read(body: bytes, kind: type[T], expected: str) -> T:
    """The decoded body. Raises Problem."""
    try:
        return msgspec.json.decode(without_bom(body), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wrong = explain(error)
        raise Problem(422, wrong.detail, members={**wrong.place, "expected": expected}) from None


@contextmanager
def _answered(done: str) -> Iterator[None]:
    """An error of a merge or a similar change, as a problem."""
    try:
        yield
    except MergeBusy as error:
        raise Problem(409, str(error), headers={"Retry-After": "10"}) from None
    except MergeError as error:
        raise Problem(422, str(error), members={"field": "old"}) from None
    except MergeRefused as error:
        retry = {"Retry-After": str(error.outcome.retry_after)}
        if error.outcome.certain:
            raise Problem(503, str(error), headers=retry) from None
        raise Problem(500, f"{error}; after a crash it may turn out to be {done}", headers=retry) from None
    except KeyReused:
        raise Problem(
            422, "this Idempotency-Key was already used with another request", members={"field": "Idempotency-Key"}
        ) from None
    except StoreError as error:
        raise store_away(error) from None


def _lines(body: bytes) -> Iterator[bytes]:
    begin = 0
    while begin < len(body):
        end = body.find(b"\n", begin)
        end = len(body) if end == -1 else end
        yield body[begin:end]
        begin = end + 1


def _decode(line: bytes, number: int) -> dict[str, msgspec.Raw]:
    """The fields of a line, unchecked. Raises Problem."""
    try:
        return msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        members = {"line": number, "expected": "a JSON object with url and numbers"}
        raise Problem(422, explain(error).detail, members=members) from None


def _text(value: msgspec.Raw | None, number: int) -> str:
    """The URL of a line. Raises Problem."""
    try:
        if value is not None:
            return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    members = {"line": number, "field": "url", "expected": EXPECTED}
    raise Problem(422, "the URL is missing or not a string", members=members)


def _minute(value: msgspec.Raw, latest: float, number: int) -> int:
    """The minute of a line. Raises Problem."""
    text = bytes(value).decode(errors="replace")
    if text.isascii() and text.isdecimal() and len(text) <= SECONDS_DIGITS_MAX and int(text) <= latest:
        return int(text) // 60
    members: dict[str, object] = {"line": number, "field": TIME}
    members["expected"] = "whole seconds since 1970, and not in the future"
    raise Problem(422, f"time is {short(text)}", members=members)


def _too_large(error: TotalTooLarge, line: int | None = None) -> Problem:
    members: dict[str, object | None] = {
        "line": line,
        "url": error.url,
        "field": error.name,
        "expected": TOTAL_EXPECTED,
    }
    return Problem(422, str(error), members=members)
