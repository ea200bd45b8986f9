"""Gathering: single events that are ready at the same moment become one submission."""

from __future__ import annotations

from likd.events import Accepted, Events, Outcome, Submission
from likd.web.http1 import Responses
from likd.web.lane import Slot
from likd.web.operations import Operations


class Gathering:
    """Requests that are one event each, on their way to be submitted together and answered together."""

    def __init__(self, operations: Operations, responses: Responses) -> None:
        self._operations = operations
        self._responses = responses
        self._events: Events = {}
        self._slots: list[Slot] = []

    def add(self, slot: Slot, event: tuple[str, str]) -> None:
        """Let a request that is one event go with the others."""
        kind, url = event
        urls = self._events.setdefault(kind, {})
        urls[url] = urls.get(url, 0) + 1
        self._slots.append(slot)

    def submit(self) -> None:
        """Submit what was gathered, if anything."""
        if not self._slots:
            return
        slots, self._slots = self._slots, []
        events, self._events = self._events, {}

        def settled(outcome: Outcome) -> None:
            answer = self._operations.answer(Accepted(1) if isinstance(outcome, Accepted) else outcome)
            response = self._responses.make(answer, keep_alive=True)
            for slot in slots:
                if slot.keep_alive and not slot.headers:
                    slot.fill(response)
                else:
                    slot.fill(self._responses.make(answer, keep_alive=slot.keep_alive, extra=slot.headers))
            # What they had sent behind these requests has been read on by now.
            self.submit()

        answering = self._operations.submit_nowait(Submission(events, len(slots), requests=len(slots)))
        assert answering is not None, "events without actors need no look into the store"
        answering.on_settled(settled)
