"""A daemon with tokens and public sites, and with fronts, answers as one without."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.daemon import Client, Daemon
from tests.web import test_lanes_access, test_lanes_reads
from tests.web.fronts.contract import contract_of


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    flags = ["--processes", "2", "--public-sites", "*.example.com", "--public-actors", "free"]
    flags += ["--address-rate", "1e6", "--address-burst", "1000000"]
    path = tmp_path_factory.mktemp("fronts") / "data"
    named = path.with_name("named")
    named.write_text(f"admin ops {test_lanes_access.OPS}\nwriter shop {test_lanes_access.SHOP}\n")
    flags += ["--tokens-file", str(named)]
    environment = {
        **os.environ,
        "LIKD_ADMIN_TOKEN": test_lanes_access.ADMIN,
        "LIKD_WRITE_TOKENS": test_lanes_access.WRITE,
    }
    with Daemon(path, *flags, environment=environment) as daemon:
        yield daemon


@pytest.fixture(params=["front"])
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as client:
        yield client


globals().update(contract_of(test_lanes_access, test_lanes_reads))
