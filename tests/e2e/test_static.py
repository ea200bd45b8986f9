"""What browsers load from the daemon: for the pages of all, compressed, under names that may be kept; and pictures."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Client, Daemon, Response

FILES = ["/likd.js", "/openapi.json", "/static/likd.css", "/static/live.js", "/static/heart.svg"]
URL = "https://example.com/pictures"


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of this machine alone."""
    with Daemon(tmp_path_factory.mktemp("private") / "data") as daemon:
        yield daemon


def get(daemon: Daemon, path: str, **headers: str) -> Response:
    with Client(daemon.address) as client:
        return client.request("GET", path, **headers)


def impressions(daemon: Daemon, url: str) -> int:
    found: int = get(daemon, f"/v1/counts?url={url}").json["counts"][0]["impressions"]
    return found


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("origin", ["", "https://anywhere.test", "null"])
def test_files_are_for_the_pages_of_all_origins_in_the_same_words(public: Daemon, path: str, origin: str) -> None:
    plain = get(public, path)
    answer = get(public, path, Origin=origin) if origin else plain
    assert answer.status == 200
    for name in ("access-control-allow-origin", "cross-origin-resource-policy", "vary", "etag"):
        assert answer.headers[name] == plain.headers[name]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("path", FILES)
def test_files_are_compressed_for_whoever_takes_that(public: Daemon, path: str) -> None:
    plain = get(public, path)
    assert "content-encoding" not in plain.headers
    small = get(public, path, Accept_Encoding="br, gzip")
    assert small.headers["content-encoding"] == "gzip"
    assert gzip.decompress(small.body) == plain.body
    assert small.headers["etag"] != plain.headers["etag"]
    again = get(public, path, Accept_Encoding="gzip", If_None_Match=small.headers["etag"])
    assert (again.status, again.headers["vary"]) == (304, "Accept-Encoding")
    assert "content-encoding" not in get(public, path, Accept_Encoding="gzip;q=0").headers


def test_the_script_has_a_name_that_may_be_kept_and_its_digest_for_pages_that_check(public: Daemon) -> None:
    demo = get(public, "/demo").body.decode()
    name = re.search(r"likd\.[0-9a-f]{16}\.js", demo)
    assert name
    kept, plain = get(public, "/" + name[0]), get(public, "/likd.js")
    assert kept.body == plain.body
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["cache-control"] == "public, max-age=300"
    digest = base64.b64encode(hashlib.sha384(plain.body).digest()).decode()
    assert f'integrity="sha384-{digest}"' in html.unescape(demo)
    old = get(public, "/likd.0123456789abcdef.js")
    assert (old.status, old.body, old.headers["cache-control"]) == (200, plain.body, "public, max-age=300")


def test_scripts_come_without_comments_and_small(public: Daemon) -> None:
    script = get(public, "/likd.js").body
    assert not re.search(rb"^\s*(//|/\*)", script, re.MULTILINE)
    assert len(get(public, "/likd.js", Accept_Encoding="gzip").body) < 12_000


def test_a_pixel_counts_an_impression(public: Daemon) -> None:
    pixel = get(public, f"/pixel.gif?url={URL}", Referer="https://example.com/some/page")
    assert (pixel.status, pixel.headers["content-type"], pixel.body[:6]) == (200, "image/gif", b"GIF89a")
    assert pixel.headers["cache-control"] == "no-store"
    assert pixel.headers["cross-origin-resource-policy"] == "cross-origin"
    assert get(public, f"/pixel.gif?url={URL}").status == 200
    assert impressions(public, URL) == 2


@pytest.mark.parametrize("url", ["https://elsewhere.test/", "mailto:a@example.com", ""])
def test_a_pixel_of_a_bad_url_counts_nothing(public: Daemon, url: str) -> None:
    refused = get(public, f"/pixel.gif?url={url}")
    assert refused.status == (403 if "elsewhere" in url else 422)
    assert refused.json["field"] == "url"


def test_a_badge_counts_an_impression_if_it_is_told_to(public: Daemon) -> None:
    url = URL + "/badge"
    assert get(public, f"/badge.svg?url={url}&by=impressions").status == 200
    assert impressions(public, url) == 0
    badge = get(public, f"/badge.svg?url={url}&by=impressions&impression=true")
    assert badge.headers["cache-control"] == "no-store"
    assert b"impressions: 1<" in badge.body
    assert impressions(public, url) == 1
    assert get(public, f"/badge.svg?url={url}&impression=perhaps").json["field"] == "impression"
    assert get(public, f"/badge.svg?url={url}&by=nothing&impression=true").status == 422
    assert impressions(public, url) == 1


@pytest.mark.parametrize(
    "headers",
    [{"Referer": "https://evil.test/"}, {"Referer": "http://[x"}, {"Sec_Fetch_Site": "cross-site"}],
    ids=["referer", "broken", "silent"],
)
def test_a_page_of_the_internet_makes_a_private_daemon_count_nothing(private: Daemon, headers: dict[str, str]) -> None:
    for picture in ("pixel.gif?", "badge.svg?impression=true&"):
        assert get(private, f"/{picture}url={URL}", Host="localhost", **headers).status == 403
    assert impressions(private, URL) == 0


def test_the_demo_has_urls_that_may_be_liked(private: Daemon, public: Daemon, tmp_path: Path) -> None:
    assert 'url="https://example.com/demo"' in get(private, "/demo").body.decode()
    assert 'url="https://example.com/demo"' in get(public, "/demo").body.decode()
    secrets = {**os.environ, "LIKD_ADMIN_TOKEN": "an-admin-token-for-this"}
    with Daemon(tmp_path / "wild", "--public-sites", "*.example.org", environment=secrets) as daemon:
        assert 'url="https://demo.example.org/demo"' in get(daemon, "/demo").body.decode()
    with Daemon(tmp_path / "closed", environment=secrets) as daemon:
        assert "Likes need a token here" in get(daemon, "/demo").body.decode()
