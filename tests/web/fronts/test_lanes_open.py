"""An open daemon with fronts answers as one without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon import Client, Daemon
from tests.web import test_lanes, test_lanes_framing
from tests.web.fronts.contract import contract_of


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    path = tmp_path_factory.mktemp("fronts") / "data"
    with Daemon(path, "--processes", "2", "--body-bytes-max", str(test_lanes.BODY_MAX)) as daemon:
        yield daemon


@pytest.fixture(params=["front"])
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as client:
        yield client


globals().update(contract_of(test_lanes, test_lanes_framing))
