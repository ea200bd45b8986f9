"""Connections to PostgreSQL: their transactions, their time limits, and what their faults mean."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import random
from typing import Any, TypeVar

import psycopg
from psycopg import IsolationLevel, errors
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from likd import __version__
from likd.errors import CountTooLarge, StartError, StoreAway, StoreError

CONNECT_SECONDS = 5
READ_SECONDS_MAX = 15.0
WRITE_SECONDS_MAX = 120.0
"""After this long, a server that neither answers a statement nor fails is given up. The mark shows the outcome."""
TRIES_MAX = 20
"""How often a transaction is tried if PostgreSQL asks for a retry."""
PAUSE_SECONDS = 0.02

_REFUSED = re.compile(
    r"password authentication failed|no password supplied|role \".*\" does not exist|database \".*\" does not exist"
    r"|no pg_hba.conf entry|authentication failed|certificate|permission denied|not permitted to log in"
)
"""Errors that waiting does not fix. libpq has no codes for what a server says before a connection is made."""

T = TypeVar("T")


class Connection(psycopg.Connection[Any]):
    """A connection whose server has to answer in time."""

    answer_seconds = WRITE_SECONDS_MAX

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Run `gen`, and give up after `answer_seconds`."""
        return super().wait(self._in_time(gen), interval)

    def _in_time(self, gen: PQGen[RV]) -> PQGen[RV]:
        deadline = time.monotonic() + self.answer_seconds
        try:
            asked = next(gen)
            while True:
                ready = yield asked
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server did not answer within {self.answer_seconds:g} s")
                asked = gen.send(ready)
        except StopIteration as done:
            result: RV = done.value
            return result


def conninfo(url: str) -> str:
    """How to connect to the database at `url`. Raises StartError if it has a password or is invalid."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The wrong part may be next to a password.
        raise StartError("the store's URL is not of the form postgresql://USER@HOST:PORT/DATABASE") from None
    if parts.get("password") is not None:
        raise StartError(
            "the store's URL has a password, which others can see: put it into PGPASSFILE, PGSERVICE or PGPASSWORD"
        )
    defaults: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": f"likd {__version__}",
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    return make_conninfo("", **{**defaults, **parts})


def connect(info: str, *, read_only: bool, answer_seconds: float) -> Connection:
    """A connection whose transactions state their isolation: one moment for all reads, what is committed for writes.

    No statement is prepared by name, so that a pooler may be in between.
    """
    connection: Connection = Connection.connect(info, prepare_threshold=None)
    connection.isolation_level = IsolationLevel.REPEATABLE_READ if read_only else IsolationLevel.READ_COMMITTED
    # A server that lets nobody write for now (its disk is nearly full, say) is not overruled.
    connection.read_only = True if read_only else None
    connection.answer_seconds = answer_seconds
    return connection


class Line:
    """A connection that is made when needed, and again after a fault."""

    def __init__(self, info: str, *, read_only: bool, answer_seconds: float | None = None) -> None:
        self._info = info
        self._read_only = read_only
        self._answer_seconds = answer_seconds
        self._connection: Connection | None = None
        self.closed = True

    @property
    def answer_seconds(self) -> float:
        """How long the server may take for an answer."""
        return self._answer_seconds or (READ_SECONDS_MAX if self._read_only else WRITE_SECONDS_MAX)

    def close(self) -> None:
        """Close it."""
        self.closed = True
        self._drop()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction, committed at the end."""
        if self.closed:
            raise StoreError("postgresql: the store is not open")
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._info, read_only=self._read_only, answer_seconds=self.answer_seconds)
        try:
            with self._connection.transaction():
                yield self._connection
        except psycopg.Error as error:
            if isinstance(error, _LOST) and not isinstance(error, _AGAIN):
                # It may be half-dead: the next is a new one.
                self._drop()
            raise

    def tried(self, work: Callable[[Connection], T]) -> T:
        """The result of `work` in a transaction, which is retried as long as PostgreSQL asks for that."""
        for left in range(TRIES_MAX, 0, -1):
            is_old = self._connection is not None
            try:
                with self.transaction() as connection:
                    return work(connection)
            except _AGAIN:
                if left == 1:
                    raise
                time.sleep(PAUSE_SECONDS * random())
            except psycopg.OperationalError:
                # The server may have restarted since. A read is repeated on a new connection.
                if not (is_old and self._read_only):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


_LOST = (psycopg.OperationalError, errors.ReadOnlySqlTransaction)
"""What a new connection may mend: it may lead to another server, which is not a standby."""
_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected)


def explain(fault: Exception) -> StoreError:
    """What a fault means to likd."""
    said = str(fault).strip().split("\n")[0]
    if isinstance(fault, errors.NumericValueOutOfRange):
        return CountTooLarge(f"postgresql: a count is beyond 63 bits: {said}")
    is_away = isinstance(fault, psycopg.OperationalError | psycopg.InterfaceError)
    if is_away and _REFUSED.search(str(fault)) is None:
        return StoreAway(f"postgresql: {said}")
    return StoreError(f"postgresql: {said}")
