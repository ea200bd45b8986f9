"""Who is let in to the live lane: decided here by the gate, or elsewhere and a moment later."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from likd.web.access.caller import Caller
from likd.web.access.credentials import Credentials
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.answers import Answer, answer_problem
from likd.web.problems import Problem

Then: TypeAlias = Callable[[Caller | Answer], object]
Admit: TypeAlias = Callable[[str, Credentials, Then], object]
"""Lets in whoever comes from an address with these credentials, or answers why not; `then` is told, now or later."""


def by(gate: Gate) -> Admit:
    """Lets in whom `gate` does, at once."""

    def admit(address: str, credentials: Credentials, then: Then) -> None:
        found: Caller | Answer
        try:
            found = gate.admit(address, credentials, Role.PUBLIC)
        except Problem as problem:
            found = answer_problem(problem)
        then(found)

    return admit
