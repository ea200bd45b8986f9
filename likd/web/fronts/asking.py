"""What a front asks its engine on behalf of its live lane's clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs
import trio

from likd.errors import StoreError, Unsupported
from likd.web.access.caller import Caller
from likd.web.access.credentials import Credentials
from likd.web.access.shares import Share
from likd.web.access.tokens import Role
from likd.web.answers import Answer
from likd.web.fronts.link import Link
from likd.web.fronts.messages import (
    Charge,
    Charged,
    Enter,
    Entered,
    Topic,
    TurnedAway,
    Unwatch,
    Watch,
    Watching,
)
from likd.web.live.admission import Then

Reply: TypeAlias = Entered | TurnedAway | Charged | Watching


class Asking:
    """Asks over `link`; `replied` delivers the answers. A front ends with its engine, so nobody waits in vain."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._last = 0
        self._waiting: dict[int, Callable[[Reply], object]] = {}

    def replied(self, reply: Reply) -> None:
        """The engine has replied."""
        then = self._waiting.pop(reply.number, None)
        if then is not None:
            then(reply)

    def enter(self, address: str, credentials: Credentials, then: Then) -> None:
        """Let a websocket in: `then` is called with its caller, or with the answer that it gets instead."""

        def replied(reply: Reply) -> None:
            if isinstance(reply, Entered):
                share = None if reply.share is None else Share(*reply.share)
                then(Caller(Role(reply.role), reply.name, share=share))
            elif isinstance(reply, TurnedAway):
                then(Answer(reply.status, reply.body, reply.content_type, reply.headers))

        self._link.send(Enter(self._next(replied), address, attrs.astuple(credentials)))

    async def charge(self, caller: Caller) -> bool:
        """Charge the caller for one more message. Returns whether its limit allows it."""
        reply = await self._reply(lambda number: self._link.send(Charge(number, caller.role, caller.name)))
        return isinstance(reply, Charged) and reply.had

    async def watch(self, topics: Sequence[Topic]) -> None:
        """Begin to watch `topics`; their state is known when this returns. Raises StoreError."""
        reply = await self._reply(lambda number: self._link.send(Watch(number, list(topics))))
        assert isinstance(reply, Watching)
        if reply.unsupported:
            raise Unsupported(reply.unsupported)
        if reply.away:
            raise StoreError(reply.away)

    def unwatch(self, topics: Sequence[Topic]) -> None:
        """Stop watching `topics`, or waiting to watch them."""
        self._link.send(Unwatch(list(topics)))

    def _next(self, then: Callable[[Reply], object]) -> int:
        self._last += 1
        self._waiting[self._last] = then
        return self._last

    async def _reply(self, ask: Callable[[int], object]) -> Reply:
        """The reply to what `ask` asks under a number."""
        replies: list[Reply] = []
        done = trio.Event()

        def replied(reply: Reply) -> None:
            replies.append(reply)
            done.set()

        number = self._next(replied)
        ask(number)
        try:
            await done.wait()
        finally:
            self._waiting.pop(number, None)
        return replies[0]
