"""What histories and lists of sites and pages are read from."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from likd.queries.totals import Totals
from likd.queries.unapplied import Unapplied
from likd.stores.protocol import Store
from likd.web.api.counts import CountReads
from likd.web.api.urls import Urls


@attrs.frozen
class KeptFor:
    """How long minutes (in hours) and hours (in days) are kept; anything older is known only in larger units."""

    minute_hours: int = 48
    hour_days: int = 90


@attrs.frozen
class Sources:
    """The store, what it does not have yet, and who may read what of it."""

    urls: Urls
    counts: CountReads
    totals: Totals
    store: Store
    unapplied: Unapplied
    kept_for: KeptFor
    clock: Callable[[], float]
