"""An event that stands for many: whatever body it comes in, it counts as often as it says, once and exactly."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.ingest.parser import Ingest
from likd.ingest.schema import EVENT_COUNT_MAX, IngestError
from likd.model import ActorEvent, Events
from likd.runtime.cooperative import finish
from tests.daemon import Client, Daemon, Response

ADMIN = "admin-token-for-these-tests"
BEARER = f"Bearer {ADMIN}"
URL = "https://www.example.com/a"


def read(body: bytes) -> tuple[Events, int, list[ActorEvent]]:
    return finish(Ingest(("like", "impression"), actor_key=lambda actor, url: actor.encode()).read(body))


def event(**more: object) -> dict[str, object]:
    return {"kind": "like", "url": URL, **more}


events = st.builds(
    lambda kind, path, count: {"kind": kind, "url": f"https://a.example/{path}", **count},
    st.sampled_from(["like", "impression"]),
    st.sampled_from("xyz"),
    st.sampled_from([{}, {"count": None}]) | st.integers(1, EVENT_COUNT_MAX).map(lambda n: {"count": n}),
)


@given(st.lists(events, min_size=1, max_size=30), st.sampled_from(["lines", "array", "compact", "laid out"]))
def test_a_body_counts_as_often_as_its_events_say(written: list[dict[str, object]], form: str) -> None:
    if form == "lines":
        body = "\n".join(map(json.dumps, written))
    else:
        body = json.dumps(
            written,
            indent=1 if form == "laid out" else None,
            separators=(",", ":") if form == "compact" else None,
        )
    expected: Events = {}
    for one in written:
        urls = expected.setdefault(str(one["kind"]), {})
        urls[str(one["url"])] = urls.get(str(one["url"]), 0) + int(str(one.get("count") or 1))
    assert read(body.encode()) == (expected, len(written), [])


def test_many_known_lines_and_one_with_a_count() -> None:
    ingest = Ingest(("like",))
    plain, counted = json.dumps(event()).encode(), json.dumps(event(count=7)).encode()
    for body, times in ((b"\n".join([plain] * 10), 10), (b"\n".join([plain] * 10 + [counted]), 17), (counted, 7)):
        assert finish(ingest.read(body))[0] == {"like": {URL: times}}
    assert ingest.recall(counted) is None


@pytest.mark.parametrize(
    "count", ["0", "-1", "1000001", "1.0", "1e3", "1e400", "true", '"5"', "[]", "9" * 30, "9" * 5000, str(2**64)]
)
@pytest.mark.parametrize("form", ["line", "array"])
def test_what_is_no_count_is_told_with_its_place(count: str, form: str) -> None:
    lines = [json.dumps(event()), json.dumps(event(count=0)).replace("0", count)]
    body, place = ("\n".join(lines), {"line": 2}) if form == "line" else (f"[{','.join(lines)}]", {"index": 1})
    with pytest.raises(IngestError) as refused:
        read(body.encode())
    assert not refused.value.malformed
    expected = {"field": "count", "expected": "a whole number from 1 to 1000000", **place}
    assert refused.value.place.items() >= expected.items()


@pytest.mark.parametrize("count", [1, 5])
def test_an_actor_does_a_thing_once(count: int) -> None:
    for kind in ("like", "impression"):
        with pytest.raises(IngestError) as refused:
            read(json.dumps({"kind": kind, "url": URL, "actor": "a", "count": count}).encode())
        assert refused.value.place["field"] == "count"
        assert refused.value.place["expected"] == "no count, or no actor"


@pytest.fixture(scope="module", params=["required", "address", "free"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    path: Path = tmp_path_factory.mktemp("counts") / "data"
    flags = ["--public-sites", "*.example.com", "--address-rate", "0", "--public-actors", request.param]
    with Daemon(path, *flags, environment={**os.environ, "LIKD_ADMIN_TOKEN": ADMIN}) as daemon:
        yield daemon


@pytest.fixture(params=["express", "full"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.address) as client:
        if request.param == "full":
            assert client.request("GET", "/readyz").status == 200
        yield client


def post(client: Client, events: object, **headers: str) -> Response:
    return client.request("POST", "/v1/events", json.dumps(events).encode(), **headers)


def likes(client: Client, url: str) -> int:
    found: int = client.request("GET", f"/v1/counts?url={url}").json["counts"][0]["likes"]
    return found


def test_who_has_a_token_adds_up_before_it_sends(client: Client) -> None:
    url = f"{URL}/{uuid4().hex}"
    assert post(client, event(url=url, count=EVENT_COUNT_MAX), Authorization=BEARER).json == {"accepted": 1}
    assert post(client, event(url=url, count=1), Authorization=BEARER).json == {"accepted": 1}
    assert post(client, [event(url=url), event(url=url, count=3)], Authorization=BEARER).json == {"accepted": 2}
    assert likes(client, url) == EVENT_COUNT_MAX + 5


@pytest.mark.parametrize("kind", ["like", "impression"])
def test_the_public_counts_itself_once(client: Client, kind: str) -> None:
    url = f"{URL}/{uuid4().hex}"
    refused = post(client, [event(url=url, actor="a"), event(url=url, kind=kind, count=2)])
    assert (refused.status, refused.json["index"]) == (422, 1)
    if kind == "impression":
        assert (refused.json["field"], refused.json["expected"]) == ("count", "no count, or a write token")
    assert likes(client, url) == 0


def test_counts_are_all_there_after_a_crash(tmp_path: Path) -> None:
    for times in (1, 2):
        with Daemon(tmp_path / "data", "--flush-interval", "3600") as daemon, Client(daemon.address) as client:
            for _ in range(3):
                assert post(client, event(count=EVENT_COUNT_MAX)).status == 202
            assert likes(client, URL) == 3 * times * EVENT_COUNT_MAX
            metrics = client.request("GET", "/metrics").body.decode()
            assert 'likd_events_total{kind="like",result="accepted"} 3e+06' in metrics
            daemon.stop(signal.SIGKILL)
