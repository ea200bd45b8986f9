"""PostgreSQL behind PgBouncer in transaction mode: no session is one's own, and none has to be."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from likd.model import LIKE, Fold, Liking
from likd.stores.postgres.connection import conninfo
from likd.stores.postgres.store import PostgresDatabase
from likd.stores.protocol import Increments
from tests import pgbouncer, postgres
from tests.stores.postgres.test_store import KEYS, MINUTE, NAMES, A, B

pytestmark = pytest.mark.skipif(pgbouncer.PROGRAM is None, reason="no pgbouncer: apt-get install pgbouncer")

TABLES = 8


@pytest.fixture
def url() -> Iterator[str]:
    """A database to which there is one connection for all."""
    server = postgres.server()
    name = server.database().rpartition("/")[2]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        with pgbouncer.before(server, Path(directory)) as port:
            yield f"postgresql://likd@127.0.0.1:{port}/{name}"


def test_nodes_that_share_one_connection_count_each_table_once(url: str) -> None:
    nodes = [PostgresDatabase(conninfo(url), f"node {n}", url_key=KEYS.of_url) for n in range(3)]

    def live(node: PostgresDatabase) -> None:
        node.open(NAMES)
        for table in range(1, TABLES + 1):
            like = {KEYS(f"actor {table}", A): Liking(likes=True, net=1)}
            rows = {A: {"likes": 1}, B: {"likes": 2, "impressions": 3}}
            node.apply(Increments(table, table, MINUTE, rows, like), MINUTE)
            assert node.read([B])[0] == table
            assert KEYS(f"actor {table}", A) in node.read_actors(list(like))[1]
            assert node.news(None).marks

    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(live, nodes))

    mark, rows = nodes[0].read([A, B])
    assert mark == TABLES
    assert rows[A]["likes"] - rows[A]["unlikes"] == TABLES
    assert rows[B] == {"likes": 6 * TABLES, "impressions": 9 * TABLES}
    merge = Fold(A, B, KEYS.of_url(A), KEYS.of_url(B))
    nodes[0].apply(Increments(TABLES + 1, TABLES + 1, MINUTE, {}, merge=merge), MINUTE)
    assert nodes[1].aliases() == {A: B}
    assert [url for url, _ in nodes[2].top(f"{LIKE}s", 2)[1]] == [B]
    for node in nodes:
        node.close()


def test_what_a_transaction_said_of_itself_is_not_left_to_the_next(url: str) -> None:
    node = PostgresDatabase(conninfo(url), "node", url_key=KEYS.of_url)
    node.open(NAMES)
    node.read([A])
    with psycopg.connect(url, prepare_threshold=None) as connection:
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("off",)
        said = connection.execute("SHOW default_transaction_isolation").fetchone()
        assert connection.execute("SHOW transaction_isolation").fetchone() == said
    node.close()
