"""`likd send` with logs as servers write, compress and rotate them."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import httpx
import pytest

from likd.ingest.urls import canonical

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd
from tests.daemon import PATIENCE_SECONDS, Daemon, wait_until
from tests.warm import command

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
PATHS = ("/", "/about", "/a?b=c", "/paper.pdf", "/style.css", "/logo.png", "/robots.txt")
HOSTS = ("one.example", "two.example")


@attrs.frozen
class Hit:
    host: str
    method: str
    path: str
    status: int
    agent: str

    @property
    def counts(self) -> bool:
        """What an independent reader of the rules would say."""
        page = self.path in PATHS[:4]
        return self.method == "GET" and self.status in (200, 304) and page and self.agent == FIREFOX

    @property
    def url(self) -> str:
        return f"https://{self.host}{self.path}"


def hits(n: int, seed: int = 1) -> list[Hit]:
    dice = random.Random(seed)
    return [
        Hit(
            dice.choice(HOSTS),
            dice.choice(["GET", "GET", "GET", "POST", "HEAD"]),
            dice.choice(PATHS),
            dice.choice([200, 200, 304, 206, 301, 404, 500]),
            dice.choice([FIREFOX, FIREFOX, GOOGLEBOT]),
        )
        for _ in range(n)
    ]


def combined(hit: Hit) -> str:
    request = f'"{hit.method} {hit.path} HTTP/1.1"'
    return f'1.2.3.4 - - [17/May/2015:10:05:03 +0000] {request} {hit.status} 5 "-" "{hit.agent}"'


def vhost(hit: Hit) -> str:
    return f"{hit.host}:443 {combined(hit)}"


def iis(hit: Hit) -> str:
    path, _, query = hit.path.partition("?")
    agent = hit.agent.replace(" ", "+")
    request = f"{hit.method} {path} {query or '-'}"
    return f"2024-05-01 10:00:00 10.0.0.1 {request} 443 - 1.2.3.4 {agent} {hit.host} {hit.status} 0"


def cloudfront(hit: Hit) -> str:
    path, _, query = hit.path.partition("?")
    agent = hit.agent.replace(" ", "%20")
    values = ["2024-05-01", "10:00:00", "FRA2", "500", "1.2.3.4", hit.method, "d1.cloudfront.net", path, hit.status]
    return "\t".join(map(str, [*values, "-", agent, query or "-", hit.host, "https"]))


def caddy(hit: Hit) -> str:
    headers = {"User-Agent": [hit.agent]}
    request = {"method": hit.method, "host": hit.host, "uri": hit.path, "headers": headers, "tls": {"version": 772}}
    told = {"level": "info", "ts": 1.7e9, "logger": "http.log.access", "request": request, "status": hit.status}
    return json.dumps(told)


def nginx_json(hit: Hit) -> str:
    request = f"{hit.method} {hit.path} HTTP/2.0"
    return json.dumps({"host": hit.host, "request": request, "status": f"{hit.status}", "http_user_agent": hit.agent})


def traefik(hit: Hit) -> str:
    told = {"RequestHost": hit.host, "RequestMethod": hit.method, "RequestPath": hit.path, "RequestScheme": "https"}
    return json.dumps({**told, "DownstreamStatus": hit.status, "request_User-Agent": hit.agent})


def alb(hit: Hit) -> str:
    request = f'"{hit.method} https://{hit.host}:443{hit.path} HTTP/2.0" "{hit.agent}"'
    return (
        f"h2 2024-05-01T10:00:00.0Z app/lb/1 1.2.3.4:5 10.0.0.1:80 0 0 0 {hit.status} 200 3 3 {request} - TLSv1.2 arn"
    )


IIS_HEAD = (
    "#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n#Date: 2024-05-01 10:00:00\n"
    "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs-host"
    " sc-status sc-substatus\n"
)
CLOUDFRONT_HEAD = (
    "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status"
    " cs(Referer) cs(User-Agent) cs-uri-query x-host-header cs-protocol\n"
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("sending") / "data", "--flush-interval", "0.1") as daemon:
        yield daemon


def likd(daemon: Daemon, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    return command("send", "--url", daemon.url, *map(str, arguments), stdin=stdin, timeout=PATIENCE_SECONDS)


def exported(daemon: Daemon) -> Counter[str]:
    rows = map(json.loads, httpx.get(f"{daemon.url}/v1/export", trust_env=False).text.splitlines())
    return Counter({row["url"]: row["impressions"] for row in rows if row["impressions"]})


def gained(daemon: Daemon, before: Counter[str]) -> Counter[str]:
    after = exported(daemon)
    return Counter({url: after[url] - before[url] for url in after if after[url] > before[url]})


def expected(told: list[Hit]) -> Counter[str]:
    return Counter(canonical(hit.url) for hit in told if hit.counts)


@pytest.mark.parametrize(
    ("head", "write", "flags"),
    [
        ("", vhost, []),
        (IIS_HEAD, iis, []),
        (CLOUDFRONT_HEAD, cloudfront, []),
        ("", caddy, []),
        ("", nginx_json, []),
        ("", traefik, []),
        ("", alb, []),
        (
            "",
            lambda hit: f"{hit.status}|{hit.host}|{hit.method} {hit.path}|{hit.agent}",
            ["--format", "$status|$host|$request|$http_user_agent"],
        ),
    ],
)
def test_each_log_is_counted_as_an_independent_reader_counts_it(
    daemon: Daemon, tmp_path: Path, head: str, write: Callable[[Hit], str], flags: list[str]
) -> None:
    told = hits(500)
    log = tmp_path / "some.log"
    log.write_text(head + "".join(f"{write(hit)}\n" for hit in told))
    before = exported(daemon)

    done = likd(daemon, "--batch", "70", *flags, log)

    assert (done.returncode, done.stderr) == (0, "")
    assert gained(daemon, before) == expected(told)


def test_with_a_site_only_its_host_counts(daemon: Daemon, tmp_path: Path) -> None:
    told = hits(300, seed=2)
    log = tmp_path / "other_vhosts_access.log"
    log.write_text("".join(f"{vhost(hit)}\n" for hit in told))
    before = exported(daemon)

    likd(daemon, "--site", "https://two.example", log)

    assert gained(daemon, before) == expected([hit for hit in told if hit.host == "two.example"])


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, zstd.compress])
def test_compressed_logs_are_read_as_what_they_hold(
    daemon: Daemon, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    told = hits(400, seed=3)
    data = (CLOUDFRONT_HEAD + "".join(f"{cloudfront(hit)}\n" for hit in told)).encode()
    whole, state = tmp_path / "log.compressed", tmp_path / "state"
    whole.write_bytes(compress(data[: len(data) // 2]) + compress(data[len(data) // 2 :]))
    (tmp_path / "cut").write_bytes(compress(data)[:-20])
    before = exported(daemon)

    done = likd(daemon, "--resume", state, "--batch", "50", whole)
    again = likd(daemon, "--resume", state, "--batch", "50", whole)
    cut = likd(daemon, tmp_path / "cut")

    assert (done.returncode, done.stderr) == (0, "")
    assert again.stdout.startswith("0 lines read")
    assert cut.returncode in (1, 2)
    assert "cut short" in cut.stderr or "damaged" in cut.stderr
    assert expected(told) <= gained(daemon, before) <= expected(told) + expected(told)


def test_paths_that_are_too_long_end_nothing(daemon: Daemon, tmp_path: Path) -> None:
    long = combined(Hit("", "GET", "/" + "x" * 3000, 200, FIREFOX))
    good = combined(Hit("", "GET", "/good", 200, FIREFOX))
    before = exported(daemon)

    done = likd(daemon, "--site", "https://s.example", "-", stdin=f"{long}\n".encode() * 150 + good.encode())

    assert done.stdout == "151 lines read: 1 events accepted, 150 lines refused\n"
    assert done.returncode == 1
    assert gained(daemon, before) == {"https://s.example/good": 1}


@pytest.mark.parametrize("last", [b'{"kind":"hate","url":"https://s.example/"}', b'{"kind":"like"}', b"{"])
def test_a_refused_last_line_without_its_newline_is_told(daemon: Daemon, last: bytes) -> None:
    done = likd(daemon, "-", stdin=b'{"kind":"like","url":"https://s.example/"}\n' * 2 + last)

    assert done.stdout == "3 lines read: 2 events accepted, 1 lines refused\n"
    assert "standard input:3: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def rotating(tmp_path: Path) -> Rotating:
    return Rotating(tmp_path / "access.log")


@attrs.define
class Rotating:
    """A log, with a path for each line of its own."""

    path: Path
    written: int = 0

    def write(self, n: int, end: str = "\n", to: Path | None = None) -> None:
        with (to or self.path).open("a") as file:
            for k in range(n):
                hit = Hit("", "GET", f"/{self.path.parent.name}/{self.written}", 200, FIREFOX)
                file.write(combined(hit) + (end if k == n - 1 else "\n"))
                self.written += 1

    def each_once(self) -> Counter[str]:
        return Counter(f"https://s.example/{self.path.parent.name}/{n}" for n in range(self.written))


def moved(log: Path) -> None:
    log.rename(f"{log}.1")
    log.touch()


def copied_and_cut(log: Path) -> None:
    shutil.copy(log, f"{log}.1")
    with log.open("r+") as file:
        file.truncate()


def compressed(log: Path) -> None:
    Path(f"{log}.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    log.touch()


def moved_with_date(log: Path) -> None:
    log.rename(f"{log}-20240501")


@pytest.mark.parametrize("rotate", [moved, copied_and_cut, compressed, moved_with_date])
def test_a_log_that_was_rotated_between_two_runs_is_sent_each_line_once(
    daemon: Daemon, rotating: Rotating, rotate: Callable[[Path], None]
) -> None:
    arguments: list[str | Path] = [
        "--resume",
        rotating.path.with_name("state"),
        "--site",
        "https://s.example",
        rotating.path,
    ]
    before = exported(daemon)
    rotating.write(10)
    likd(daemon, *arguments)
    rotating.write(7)
    rotate(rotating.path)
    rotating.write(5)

    runs = [likd(daemon, *arguments) for _ in range(2)]

    assert [run.returncode for run in runs] == [0, 0], runs
    assert gained(daemon, before) == rotating.each_once()


def test_logs_that_came_and_went_between_two_runs_are_sent_too(daemon: Daemon, rotating: Rotating) -> None:
    log = rotating.path
    arguments = ["--resume", str(log.with_name("state")), "--site", "https://s.example", str(log)]
    before = exported(daemon)
    rotating.write(10)
    likd(daemon, *arguments)
    rotating.write(3)
    log.rename(f"{log}.1")
    rotating.write(4)
    old = Path(f"{log}.1").stat()
    Path(f"{log}.2.gz").write_bytes(gzip.compress(Path(f"{log}.1").read_bytes()))
    os.utime(f"{log}.2.gz", ns=(old.st_mtime_ns, old.st_mtime_ns))
    log.rename(f"{log}.1")
    rotating.write(5)

    runs = [likd(daemon, *arguments) for _ in range(2)]

    assert [run.returncode for run in runs] == [0, 0], runs
    assert gained(daemon, before) == rotating.each_once()


def test_a_half_written_line_is_left_for_the_next_run(daemon: Daemon, rotating: Rotating) -> None:
    arguments: list[str | Path] = [
        "--resume",
        rotating.path.with_name("state"),
        "--site",
        "https://s.example",
        rotating.path,
    ]
    before = exported(daemon)
    rotating.write(10)
    whole = rotating.path.read_bytes()
    rotating.path.write_bytes(whole[:-40])

    first = likd(daemon, *arguments)
    with rotating.path.open("ab") as file:
        file.write(whole[-40:])
    likd(daemon, *arguments)

    assert first.stdout.startswith("9 lines read: 9 events accepted, 0 lines refused")
    assert first.returncode == 0
    assert gained(daemon, before) == rotating.each_once()


@pytest.mark.parametrize("rotate", [moved, copied_and_cut])
@pytest.mark.parametrize("resume", [True, False])
def test_a_log_that_is_followed_may_be_rotated(
    daemon: Daemon, rotating: Rotating, rotate: Callable[[Path], None], resume: bool
) -> None:
    log = rotating.path
    before = exported(daemon)
    state = ["--resume", str(log.with_name("state"))] if resume else []
    following = [sys.executable, "-m", "likd", "send", "--url", daemon.url, *state, "--follow"]
    rotating.write(10)
    with subprocess.Popen(
        [*following, "--site", "https://s.example", str(log)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as follower:
        wait_until(lambda: gained(daemon, before).total() == 10)
        rotating.write(3)
        wait_until(lambda: gained(daemon, before).total() == 13)
        rotate(log)
        if rotate is moved:
            # Who has it open still writes to it.
            rotating.write(2, to=Path(f"{log}.1"))
        rotating.write(4)
        wait_until(lambda: gained(daemon, before) == rotating.each_once())
        follower.send_signal(signal.SIGTERM)
        _, told = follower.communicate(timeout=PATIENCE_SECONDS)

    assert follower.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in told
    rotating.write(6)
    if resume:
        likd(daemon, *state, "--site", "https://s.example", log)
        assert gained(daemon, before) == rotating.each_once()


def test_a_finished_log_goes_into_the_history_by_its_own_times_once(daemon: Daemon, tmp_path: Path) -> None:
    days = [30, 30, 2, 2, 2]
    now = int(time.time())
    lines = []
    for ago in days:
        then = datetime.fromtimestamp(now - ago * 86_400, UTC)
        line = combined(Hit("", "GET", "/past", 200, FIREFOX))
        lines.append(line.replace("17/May/2015:10:05:03 +0000", f"{then:%d/%b/%Y:%H:%M:%S} +0000"))
    lines.append(combined(Hit("", "GET", "/past", 200, FIREFOX)).replace("2015", "2999"))
    log, packed = tmp_path / "access.log", tmp_path / "access.log.1.gz"
    log.write_text("\n".join([*lines, ""]))
    packed.write_bytes(gzip.compress(log.read_bytes()))
    before = exported(daemon)

    first = likd(daemon, "--past", "--site", "https://s.example", log)
    again = likd(daemon, "--past", "--site", "https://s.example", packed)

    assert first.stdout == "6 lines read: 5 events accepted, 1 lines refused; 1 URLs loaded\n"
    assert again.stdout.endswith("; 0 URLs loaded, others were loaded before\n")
    assert gained(daemon, before) == {"https://s.example/past": 5}
    url = f"{daemon.url}/v1/history?url=https://s.example/past&unit=day&last=40"
    told = httpx.get(url, trust_env=False).json()["history"]
    assert [row["impressions"] for row in told if row["impressions"]] == [2, 3]


@pytest.mark.parametrize("write", [vhost, iis, cloudfront, caddy, alb])
def test_each_log_has_its_times(daemon: Daemon, tmp_path: Path, write: Callable[[Hit], str]) -> None:
    told = hits(50, seed=len(write.__name__))
    log = tmp_path / "some.log"
    heads: dict[Callable[[Hit], str], str] = {iis: IIS_HEAD, cloudfront: CLOUDFRONT_HEAD}
    head = heads.get(write, "")
    log.write_text(head + "".join(f"{write(hit)}\n" for hit in told))
    before = exported(daemon)

    done = likd(daemon, "--past", log)

    assert (done.returncode, done.stderr) == (0, "")
    assert gained(daemon, before) == expected(told)


def test_events_have_no_past(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text('{"kind":"like","url":"https://s.example/"}\n')
    refused = likd(daemon, "--past", file)
    assert refused.returncode == 1
    assert "--past is for logs" in refused.stderr


def test_impressions_that_the_daemon_takes_for_a_bots_are_not_said_to_be_counted(tmp_path: Path) -> None:
    body = json.dumps({"kind": "impression", "url": "https://example.com/a"}).encode()
    secrets = {**os.environ, "LIKD_WRITE_TOKENS": "write-token-for-these-tests"}
    with Daemon(tmp_path / "data", "--public-sites", "example.com", environment=secrets) as daemon:
        ended = likd(daemon, "-", stdin=body)
        assert (ended.returncode, "does not count programs' impressions without a token" in ended.stderr) == (1, True)
        assert likd(daemon, "--token", "write-token-for-these-tests", "-", stdin=body).returncode == 0
        answer = httpx.get(f"{daemon.url}/v1/counts?url=https://example.com/a", trust_env=False).json()
        assert answer["counts"][0]["impressions"] == 1
