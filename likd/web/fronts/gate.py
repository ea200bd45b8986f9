"""A front's gate: what it knows by itself, and to whom it tells whom it refused."""

from __future__ import annotations

from likd.config.settings import Config
from likd.web.access.gate import Gate
from likd.web.access.tokens import Tokens
from likd.web.fronts.link import Link
from likd.web.fronts.messages import Refused


class FrontGate(Gate):
    """Decides as the engine's gate does, where no price, login or share is concerned; these are the engine's.

    Whom it refuses it tells over `link`, so that the log and the figures are of the whole.
    """

    def __init__(self, config: Config, tokens: Tokens, link: Link) -> None:
        super().__init__(config, tokens)
        self._link = link

    def tell(self, status: str, reason: str, name: str, setting: str) -> None:
        """Somebody was refused, by the `name` that it gave; `setting` would let it in."""
        self._link.send(Refused(status, reason, name, setting))
