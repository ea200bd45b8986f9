"""A front's gate: what it knows by itself, and to whom it tells whom it refused."""

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
    """Decides as the engine's gate does, where no price, login or share is concerned; these are the engine's.

    Whom it refuses it tells over `link`, so that the log and the figures are of the whole. It tells nobody if there is
    none: what is refused goes to the engine then, which looks at it anew.
    """

    def __init__(self, config: GateSettings, tokens: Tokens, link: Link | None) -> None:
        super().__init__(config, tokens)
        self._link = link

    def tell(self, status: str, reason: str, name: str, setting: str) -> None:
        """Somebody was refused, by the `name` that it gave; `setting` would let it in."""
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
        # Who shows a token that is none may have come by a link.
        return None if credentials.authorization and not caller.name else caller
