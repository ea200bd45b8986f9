"""The reads of the express lane: each is answered from memory, or else by a task that looks into the store."""

from __future__ import annotations

from typing import Any

import attrs

from likd.web.access.caller import Caller
from likd.web.answers import Answer, conditional
from likd.web.api.counts import CountReads
from likd.web.api.files import Files
from likd.web.api.pictures import Pictures
from likd.web.api.reads import Reads
from likd.web.express.http1 import Head, Operation


@attrs.frozen
class HotReads:
    """Carries out reads. They raise Problem, like their counterparts in the full lane."""

    counts: CountReads
    reads: Reads
    pictures: Pictures
    files: Files

    def nowait(self, head: Head, caller: Caller) -> Answer | None:
        """The answer to `head`, if that needs no look into the store."""
        asked: Any = head.asked
        match head.operation:
            case Operation.COUNTS:
                found = self.counts.counts_nowait(asked.urls, caller, partial=asked.partial)
                return None if found is None else conditional(found, asked.if_none_match)
            case Operation.BADGE:
                return self.pictures.badge_nowait(asked, caller)
            case Operation.HISTORY:
                return self.reads.history_nowait(asked, caller)
            case Operation.TOP:
                return self.reads.top_nowait(asked, caller)
        raise AssertionError(f"{head.operation.name} is not a read")

    async def later(self, head: Head, caller: Caller) -> Answer:
        """The answer to `head`, even if it needs a look into the store."""
        asked: Any = head.asked
        match head.operation:
            case Operation.COUNTS:
                found = await self.counts.counts(asked.urls, caller, partial=asked.partial)
                return conditional(found, asked.if_none_match)
            case Operation.BADGE:
                return await self.pictures.badge(asked, caller)
            case Operation.HISTORY:
                return await self.reads.history(asked, caller)
            case Operation.TOP:
                return await self.reads.top(asked, caller)
        raise AssertionError(f"{head.operation.name} is not a read")

    def file(self, head: Head) -> Answer:
        """The file that `head` requests."""
        asked: Any = head.asked
        return self.files.answer(asked.path, compressed=asked.compressed, if_none_match=asked.if_none_match)
