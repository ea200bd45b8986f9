"""Logs as servers write them: each line is an impression, skipped for a reason, or wrong; never a crash."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.cli.client import ClientError
from likd.cli.sending.accesslog import Impressions
from likd.cli.sending.batches import read
from likd.cli.sending.formats import LOOKED_AT_MAX, NAMES, Looking, make
from likd.cli.sending.line_ranges import Cutter, Source
from likd.cli.sending.lines import LineRefused, NotALogLine, Skip
from likd.cli.sending.textlogs import FormatError, from_string
from likd.cli.sending.times import seconds_of

SITE = b"https://s.example"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
NGINX = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
APACHE = r"%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\""


def url_of(
    line: bytes | str, name: str = "auto", site: bytes | None = SITE, header: bytes = b"", *, count_all: bool = False
) -> object:
    """The URL that a line is an impression of, or why it is none."""
    line = line.encode() if isinstance(line, str) else line
    event = make(name, "log", Impressions(site, count_all=count_all)).event(line, header)
    return event if isinstance(event, Skip) else json.loads(event)["url"]


def combined(request: str, status: int = 200, agent: str = FIREFOX) -> str:
    return f'1.2.3.4 - - [17/May/2015:10:05:03 +0000] "{request} HTTP/1.1" {status} 203 "-" "{agent}"'


@pytest.mark.parametrize("name", ["auto", "access-log", "common", "combined"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'1.2.3.4 - - [x] "GET /a?b=c HTTP/1.1" 200 5', "https://s.example/a?b=c"),
        (b'1.2.3.4 - - [x] "GET /a HTTP/1.1" 200 5 "-" "agent"', "https://s.example/a"),
        (b'1.2.3.4 - a b [x] "GET /a HTTP/1.1" 304 -', "https://s.example/a"),
        (b'1.2.3.4 - - [x] "GET /a b HTTP/1.1" 200 5', "https://s.example/a%20b"),
        (b'1.2.3.4 - - [x] "GET /\\x22q\\" HTTP/1.1" 200 5', "https://s.example/%22q%22"),
        (b'1.2.3.4 - - [x] "GET https://s.example/p HTTP/1.1" 200 5', "https://s.example/p"),
        (b'1.2.3.4 - - [x] "GET https://other.example/p HTTP/1.1" 200 5', Skip.OTHER_HOST),
        (b'1.2.3.4 - - [x] "POST /a HTTP/1.1" 200 5', Skip.NO_DELIVERY),
        (b'1.2.3.4 - - [x] "GET /a HTTP/1.1" 500 5', Skip.NO_DELIVERY),
        (b'1.2.3.4 - - [x] "-" 408 0', Skip.NO_DELIVERY),
        (b'1.2.3.4 - - [x] "GET * HTTP/1.1" 200 5', Skip.NO_DELIVERY),
    ],
)
def test_a_delivered_get_is_an_impression(name: str, line: bytes, expected: object) -> None:
    assert url_of(line, name) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (combined("GET /style.css?v=3"), Skip.STATIC),
        (combined("GET /a/LOGO.PNG"), Skip.STATIC),
        (combined("GET /fonts/x.woff2"), Skip.STATIC),
        (combined("GET /robots.txt"), Skip.STATIC),
        (combined("GET /.well-known/security.txt"), Skip.STATIC),
        (combined("GET /talk.pdf", 206), Skip.PART),
        (combined("GET /", agent=GOOGLEBOT), Skip.BOT),
        (combined("GET /", agent="curl/8.5.0"), Skip.BOT),
    ],
)
def test_what_no_person_looked_at_is_left_out_unless_all_is_counted(line: str, reason: Skip) -> None:
    assert url_of(line) is reason
    assert str(url_of(line, count_all=True)).startswith("https://s.example/")


@pytest.mark.parametrize(
    "request_line", ["GET /", "GET /index.html", "GET /a.css/b", "GET /paper.pdf", "GET /?f=x.png"]
)
def test_pages_and_documents_are_counted(request_line: str) -> None:
    assert str(url_of(combined(request_line))).startswith("https://s.example/")


def test_the_host_of_a_line_is_its_site_and_the_port_tells_the_scheme() -> None:
    def vhost(host: str) -> str:
        return f"{host} {combined('GET /a')}"

    assert url_of(vhost("one.example:443"), site=None) == "https://one.example:443/a"
    assert url_of(vhost("two.example:80"), site=None) == "http://two.example:80/a"
    assert url_of(vhost("[2001:db8::1]:8080"), "vhost", site=None) == "http://[2001:db8::1]:8080/a"
    assert url_of(vhost("S.example:80")) == "https://s.example/a"
    assert url_of(vhost("other.example:443")) is Skip.OTHER_HOST
    with pytest.raises(LineRefused, match="the host is"):
        url_of(vhost('a"b:443'), "vhost", site=None)


@pytest.mark.parametrize("client", ["1.2.3.4", "::1", "2001:db8::1", "host.example"])
@pytest.mark.parametrize("user", ["-", "jane", "jane doe"])
def test_a_client_is_not_taken_for_a_virtual_host(client: str, user: str) -> None:
    assert url_of(combined("GET /a").replace("1.2.3.4 - -", f"{client} - {user}")) == "https://s.example/a"


@pytest.mark.parametrize("form", [NGINX, APACHE, APACHE.replace('\\"', '"')])
def test_the_usual_format_strings_are_the_combined_format(form: str) -> None:
    assert url_of(combined("GET /a"), form) == "https://s.example/a"
    assert url_of(combined("GET /a", agent=GOOGLEBOT), form) is Skip.BOT
    with pytest.raises(NotALogLine):
        url_of("nonsense", form)


@pytest.mark.parametrize(
    ("form", "line", "expected"),
    [
        ("$scheme://$host$request_uri $status", "https://s.example/a?b=c 200", "https://s.example/a?b=c"),
        ("$status|$request_method|$uri|$args|$host", "200|GET|/a|b=c|s.example", "https://s.example/a?b=c"),
        ("$status|$request_method|$uri|$args|$host", "200|GET|/a|-|other.example", Skip.OTHER_HOST),
        ('${status} "$request" "$http_sec_purpose"', '200 "GET /a HTTP/2.0" "prefetch;prerender"', Skip.PREFETCH),
        ('$status "$request" "$http_range"', '206 "GET /a HTTP/2.0" "bytes=0-"', "https://s.example/a"),
        ('$status "$request" "$http_range"', '206 "GET /a HTTP/2.0" "bytes=100-"', Skip.PART),
        ("%{Host}i %m %U%q %s", "s.example GET /a?b=c 200", "https://s.example/a?b=c"),
        ('%t %D "%r" %>s %%', '[17/May/2015:10:05:03 +0000] 12 "GET /a HTTP/1.1" 200 %', "https://s.example/a"),
        ("%V\t%U\t%q\t%>s", "s.example\t/a\t?b=c\t200", "https://s.example/a?b=c"),
        (r"%V\t%U\t%>s", "s.example\t/a\t200", "https://s.example/a"),
    ],
)
def test_format_strings_are_read(form: str, line: str, expected: object) -> None:
    assert url_of(line, form) == expected


@pytest.mark.parametrize("form", ["$remote_addr $status", "%h %t", "$request", "%%", "$", "%"])
def test_a_format_string_needs_the_request_and_the_status(form: str) -> None:
    with pytest.raises(FormatError, match="request"):
        from_string(form)


def test_a_line_that_almost_fits_costs_no_more_than_its_length() -> None:
    many = "".join(f'"$a{n}" $b{n} ' for n in range(20)) + '[$t] "$request" $status'
    for line in (b'"' * 60_000, b'" ' * 30_000, b"\\" * 60_000, b"a [" * 20_000):
        with pytest.raises(NotALogLine):
            url_of(line, many)
        with pytest.raises(NotALogLine):
            url_of(line)


CADDY = {
    "level": "info",
    "ts": 1700000000.1,
    "logger": "http.log.access.log0",
    "msg": "handled request",
    "request": {
        "remote_ip": "1.2.3.4",
        "proto": "HTTP/2.0",
        "method": "GET",
        "host": "s.example",
        "uri": "/a?b=c",
        "headers": {"User-Agent": [FIREFOX]},
        "tls": {"version": 772},
    },
    "size": 2326,
    "status": 200,
}
TRAEFIK = {
    "DownstreamStatus": 200,
    "OriginStatus": 404,
    "RequestAddr": "s.example",
    "RequestHost": "s.example",
    "RequestMethod": "GET",
    "RequestPath": "/a?b=c",
    "RequestScheme": "https",
    "request_User-Agent": FIREFOX,
    "level": "info",
}
NGINX_JSON = {
    "time_local": "17/May/2015:10:05:03 +0000",
    "request": "GET /a?b=c HTTP/1.1",
    "status": "200",
    "host": "s.example",
    "scheme": "https",
    "http_user_agent": FIREFOX,
}


@pytest.mark.parametrize("told", [CADDY, TRAEFIK, NGINX_JSON, {**NGINX_JSON, "status": 200}])
def test_json_logs_are_known_by_looking(told: dict[str, object]) -> None:
    assert url_of(json.dumps(told), site=None) == "https://s.example/a?b=c"
    bot = json.dumps(told).replace(FIREFOX, GOOGLEBOT)
    assert url_of(bot, site=None) is Skip.BOT


def test_json_logs_tell_of_ranges_and_prefetches() -> None:
    def caddy(status: int, **headers: str) -> str:
        request = {**CADDY["request"], "headers": {name: [value] for name, value in headers.items()}}  # type: ignore[dict-item]
        return json.dumps({**CADDY, "request": request, "status": status})

    assert url_of(caddy(206, Range="bytes=0-")) == "https://s.example/a?b=c"
    assert url_of(caddy(206, Range="bytes=4096-")) is Skip.PART
    assert url_of(caddy(200, **{"Sec-Purpose": "prefetch"})) is Skip.PREFETCH
    assert url_of(json.dumps({"level": "info", "msg": "serving initial configuration"}), "json") is Skip.NO_DELIVERY


def test_nginx_json_with_bytes_as_in_text_logs_is_read() -> None:
    line = rb'{"host":"s.example","request":"GET /\xC3\xA4\x22 HTTP/1.1","status":"200"}'
    assert url_of(line, site=None) == "https://s.example/%C3%83%C2%A4%22"


IIS = (
    b"#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip"
    b" cs(User-Agent) cs(Referer) sc-status"
)
CLOUDFRONT = (
    b"#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status"
    b" cs(Referer) cs(User-Agent) cs-uri-query x-host-header cs-protocol"
)


def test_iis_logs_are_read_by_their_fields() -> None:
    def iis(agent: str, query: str = "-") -> str:
        return f"2024-05-01 10:00:00 10.0.0.1 GET /a {query} 443 - 1.2.3.4 {agent} - 200"

    assert url_of(iis(FIREFOX.replace(" ", "+")), "iis", header=IIS) == "https://s.example/a"
    assert url_of(iis("x", "b=c"), "iis", header=IIS) == "https://s.example/a?b=c"
    assert url_of(iis(GOOGLEBOT.replace(" ", "+")), "iis", header=IIS) is Skip.BOT
    assert url_of("#Date: 2024-05-01 10:00:00", "iis", header=IIS) is Skip.COMMENT
    for line in (iis("x"), "2024-05-01 10:00:00"):
        with pytest.raises(NotALogLine):
            url_of(line, "iis", header=b"" if line == iis("x") else IIS)


def test_cloudfront_logs_tell_the_host_that_was_asked_for() -> None:
    agent = GOOGLEBOT.replace(" ", "%2520")
    line = "2024-05-01\t10:00:00\tFRA2\t500\t1.2.3.4\tGET\td1.cloudfront.net\t/a\t200\t-\t%s\tb=c\ts.example\thttps"
    assert url_of(line % "Mozilla/5.0%20(X11)", "cloudfront", None, CLOUDFRONT) == "https://s.example/a?b=c"
    assert url_of(line % agent, "cloudfront", None, CLOUDFRONT) is Skip.BOT


def test_load_balancers_logs_have_the_whole_url() -> None:
    line = (
        "h2 2024-05-01T10:00:00.0Z app/lb/1 1.2.3.4:5 10.0.0.1:80 0.0 0.1 0.0 200 200 34 366 "
        f'"GET https://s.example:443/a?b=c HTTP/2.0" "{FIREFOX}" ECDHE TLSv1.2 arn "Root=1" "s.example" "arn"'
    )
    assert url_of(line, site=None) == "https://s.example:443/a?b=c"
    assert url_of(line.replace(FIREFOX, GOOGLEBOT), site=None) is Skip.BOT


def test_names_of_fields_hold_up_to_the_next_such_line_wherever_a_batch_ends() -> None:
    other = b"#Fields: cs-uri-stem sc-status"
    lines = [
        IIS,
        b"2024-05-01 10:00:00 10.0.0.1 GET /1 - 443 - 1.2.3.4 x - 200",
        other,
        b"/2 200",
        b"/3 404",
        b"/4 200",
    ]
    source = Source(0, "log", make("w3c", "log", Impressions(SITE, count_all=False)))
    for size in range(1, 7):
        cutter = Cutter(source, size)
        line_ranges = [*cutter.feed(b"\n".join(lines)), *cutter.end()]
        halves = [
            half
            for line_range in line_ranges
            for half in line_range.split(line_range.byte_range.line + line_range.byte_range.lines // 2)
        ]
        for cut in (line_ranges, halves):
            urls = [json.loads(line)["url"] for line_range in cut for line in read(line_range).body.splitlines()]
            assert urls == [f"https://s.example/{n}" for n in (1, 2, 4)]


def test_looking_goes_on_over_lines_that_tell_nothing() -> None:
    looking = Looking("log", Impressions(SITE, count_all=False))
    with pytest.raises(NotALogLine):
        looking.event(b"torn line", b"")
    assert isinstance(looking.event(combined("GET /a").encode(), b""), bytes)
    with pytest.raises(NotALogLine):
        looking.event(b'{"kind":"like","url":"https://s.example/"}', b"")


def test_what_is_of_no_known_format_is_given_up() -> None:
    looking = Looking("log", Impressions(SITE, count_all=False))
    for _ in range(LOOKED_AT_MAX - 1):
        with pytest.raises(NotALogLine):
            looking.event(b"junk", b"")
    with pytest.raises(ClientError, match="log: the lines are in no known format"):
        looking.event(b"junk", b"")


def test_events_and_sites_dont_go_together() -> None:
    event = b'{"kind":"like","url":"https://s.example/"}'
    assert make("auto", "log", Impressions(None, count_all=False)).event(event, b"") == event
    with pytest.raises(ClientError, match="--site is for logs"):
        url_of(event)
    with pytest.raises(ClientError, match="give it with --site"):
        url_of(combined("GET /a"), site=None)


@given(st.sampled_from([*NAMES, NGINX, APACHE, "$host $request_uri $status"]), st.binary(max_size=200))
def test_any_line_is_an_event_or_skipped_or_wrong(name: str, line: bytes) -> None:
    _check_any(name, line, b"")


@given(
    st.sampled_from(
        [combined("GET /%s"), "a.example:80 " + combined("GET /%s"), json.dumps(CADDY), json.dumps(TRAEFIK)]
    ),
    st.binary(max_size=60),
    st.integers(0, 400),
)
def test_any_damage_to_a_good_line_is_an_event_or_skipped_or_wrong(line: str, damage: bytes, at: int) -> None:
    data = line.encode()
    _check_any("auto", data[:at] + damage + data[at:], b"")


@given(st.binary(max_size=60), st.lists(st.binary(max_size=20).filter(lambda value: b"\n" not in value), max_size=12))
def test_any_values_under_any_names_are_an_event_or_skipped_or_wrong(header: bytes, values: list[bytes]) -> None:
    for names in (IIS, CLOUDFRONT, b"#Fields: " + header):
        _check_any("w3c", b" ".join(values), names)
        _check_any("w3c", b"\t".join(values), names)


def _check_any(name: str, line: bytes, header: bytes) -> None:
    try:
        event = make(name, "log", Impressions(SITE, count_all=False)).event(line, header)
    except (LineRefused, NotALogLine, ClientError):
        return
    if isinstance(event, bytes) and name != "ndjson" and event != line:
        assert json.loads(event)["url"].startswith("https://s.example/")
        assert event.isascii()
        assert b"\n" not in event


@pytest.mark.parametrize(
    "text",
    [
        *("1714557600", "1714557600.123", "1714557600123", "2024-05-01T10:00:00Z", "2024-05-01T12:00:00.5+02:00"),
        *("01/May/2024:10:00:00 +0000", "[01/May/2024:12:00:00 +0200]", "2024-05-01 10:00:00", "20240501T100000Z"),
    ],
)
def test_times_are_read_as_servers_write_them(text: str) -> None:
    assert seconds_of(text.encode()) == 1714557600


@given(st.binary(max_size=40))
def test_any_time_is_seconds_or_none(data: bytes) -> None:
    seconds = seconds_of(data)
    assert seconds is None or seconds >= 0
