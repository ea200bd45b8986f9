"""A front's gate: decides what it can by itself, and reports refusals to the engine."""

from __future__ import annotations

from likd.config.web_settings import GateSettings
from likd.web.access.caller import UNRESTRICTED, Caller
from likd.web.access.credentials import Credentials, sessions_of
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role, Tokens
from likd.web.fronts.link import Link
from likd.web.fronts.messages import Refused
from likd.web.problems import Problem


class FrontGate(Gate):
    """Decides like the engine's gate, except for limits, logins and shares, which are left to the engine.

    It reports refusals over `link`, so that the log and the figures cover the whole daemon. Without a link it reports
    nothing: then refused requests go to the engine, which checks them again.
    """

    def __init__(self, config: GateSettings, tokens: Tokens, link: Link | None) -> None:
        super().__init__(config, tokens)
        self._link = link

    def tell(self, status: str, reason: str, name: str, setting: str) -> None:
        """Somebody who called itself `name` was refused; `setting` would let it in."""
        if self._link is not None:
            self._link.send(Refused(status, reason, name, setting))

    def knows(self, credentials: Credentials, address: str) -> Caller | None:
        """The caller from `address` with these credentials, if it may post events and is known without the engine."""
        if self.lets_everyone(credentials):
            return UNRESTRICTED
        if sessions_of(credentials.cookie):
            return None
        try:
            caller = self.recognize(credentials, Role.PUBLIC, address)
        except Problem:
            return None
        # A caller with an unknown token may have come by a link.
        return None if credentials.authorization and not caller.name else caller
