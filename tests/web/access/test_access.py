"""Who is let in: tokens, public sites, origins, limits, and whose address counts."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from likd.config.parsers import Bind
from likd.config.settings import Config, ConfigError, load
from likd.web.access.addresses import Hosts, Proxies, caller_of, valid_host
from likd.web.access.caller import UNRESTRICTED, Caller
from likd.web.access.connection_limit import ConnectionLimit
from likd.web.access.credentials import COOKIE, Credentials
from likd.web.access.gate import Gate
from likd.web.access.rate_limit import RateLimit
from likd.web.access.sessions import LOGINS_MAX, SESSION_SECONDS, Logins
from likd.web.access.tokens import Role, Tokens, load_tokens, refuse_unsafe
from likd.web.problems import Problem

ADMIN = "an-admin-token-of-some-length"
WRITE = "a-write-token-of-some-length"
TOKENS = Tokens((ADMIN.encode(),), (WRITE.encode(),))
SITES = ("example.com", "*.example.org")
PEER = "203.0.113.9"


def gate(tokens: Tokens = TOKENS, **settings: object) -> Gate:
    return Gate(Config(**{"address_rate": 0.0, **settings}), tokens)  # type: ignore[arg-type]


def bearer(token: str, **more: str) -> Credentials:
    return Credentials(f"Bearer {token}", **more)


def status(gate: Gate, credentials: Credentials, need: Role, peer: str = PEER) -> int:
    try:
        gate.admit(peer, credentials, need)
    except Problem as problem:
        return problem.status
    return 200


def test_without_tokens_and_public_sites_all_is_open() -> None:
    assert gate(Tokens()).admit(PEER, Credentials(), Role.ADMIN) is UNRESTRICTED


@pytest.mark.parametrize(
    ("credentials", "allowed"),
    [
        (Credentials(), {Role.NOBODY}),
        (bearer(WRITE), {Role.NOBODY, Role.PUBLIC, Role.WRITER}),
        (bearer(ADMIN), set(Role)),
        (bearer("no-such-token-anywhere"), {Role.NOBODY}),
        (bearer(ADMIN[:-1]), {Role.NOBODY}),
        (bearer(""), {Role.NOBODY}),
        (Credentials("Basic " + ADMIN), {Role.NOBODY}),
    ],
)
def test_a_token_opens_what_its_role_may_do(credentials: Credentials, allowed: set[Role]) -> None:
    assert {role for role in Role if status(gate(), credentials, role) == 200} == allowed


def test_who_has_too_small_a_token_is_told_so() -> None:
    assert status(gate(), Credentials(), Role.WRITER) == 401
    assert status(gate(), bearer(WRITE), Role.ADMIN) == 403


def test_on_this_machine_the_inside_is_open_until_there_is_an_admin_token_or_a_public_site() -> None:
    inside = gate(Tokens(write=TOKENS.write))
    assert {need: status(inside, Credentials(), need) for need in Role} == dict.fromkeys(Role, 200)
    assert inside.recognize(Credentials(), Role.PUBLIC).role is Role.ADMIN
    public = gate(Tokens(), public_sites=SITES)
    elsewhere = gate(Tokens(write=TOKENS.write), bind=(Bind("0.0.0.0", 1),))
    for need in (Role.WRITER, Role.ADMIN):
        assert (status(public, Credentials(), need), status(elsewhere, Credentials(), need)) == (401, 401)


def test_who_is_on_this_machine_has_no_limits_and_shows_a_token_that_there_is_or_none() -> None:
    inside = gate(Tokens(write=TOKENS.write), address_rate=1.0, address_burst=1)
    assert [status(inside, Credentials(), Role.PUBLIC) for _ in range(3)] == [200] * 3
    assert status(inside, bearer("no-such-token-anywhere"), Role.PUBLIC) == 401


def test_public_sites_need_no_token_for_their_own_urls() -> None:
    public = gate(public_sites=SITES)
    caller = public.admit(PEER, Credentials(), Role.PUBLIC)
    for url in (
        "https://example.com/a",
        "https://example.com:8443/",
        "https://www.example.org/",
        "http://u@example.com/",
    ):
        public.check_urls(caller, [url])
    for url in ("https://example.org/", "https://example.com.evil.test/", "https://evilexample.com/", "https://[::1]/"):
        with pytest.raises(Problem) as refused:
            public.check_urls(caller, [url])
        assert refused.value.status == 403
    assert status(public, Credentials(), Role.WRITER) == 401


def test_without_a_token_a_request_has_few_events() -> None:
    public = gate(public_sites=SITES)
    caller = public.admit(PEER, Credentials(), Role.PUBLIC)
    public.check_events(caller, {"like": {"https://example.com/": 100}}, (), 100)
    with pytest.raises(Problem, match="at most 100 events"):
        public.check_events(caller, {"like": {"https://example.com/": 101}}, (), 101)


@pytest.mark.parametrize(
    ("origin", "host", "let_in"),
    [
        ("https://example.com", "likes.test", True),
        ("https://blog.example.org", "likes.test", True),
        ("https://app.test", "likes.test", True),
        ("https://likes.test", "likes.test", True),
        ("http://localhost:3000", "likes.test", True),
        ("https://evil.test", "likes.test", False),
        ("https://example.com.evil.test", "likes.test", False),
        ("null", "likes.test", False),
        ("http://[", "likes.test", False),
    ],
)
def test_pages_are_let_in_by_their_origin(origin: str, host: str, let_in: bool) -> None:
    wary = gate(public_sites=SITES, origins=("https://app.test",))
    found = status(wary, bearer(WRITE, origin=origin, host=host), Role.PUBLIC)
    assert found == (200 if let_in else 403)


def test_a_page_from_nowhere_cannot_use_a_daemon_that_is_open_to_this_machine() -> None:
    assert status(gate(Tokens()), Credentials(origin="https://evil.test", host="127.0.0.1:8080"), Role.PUBLIC) == 403
    assert status(gate(Tokens()), Credentials(origin="http://localhost:3000"), Role.PUBLIC) == 200


@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:8080", "127.0.0.1.evil.test", "203.0.113.9", "localhost.evil.test"]
)
@pytest.mark.parametrize("tokens", [Tokens(), Tokens(write=TOKENS.write)])
def test_a_name_from_the_internet_does_not_lead_to_what_is_open_to_this_machine(host: str, tokens: Tokens) -> None:
    local = gate(tokens)
    for need in (Role.WRITER, Role.ADMIN):
        assert status(local, Credentials(host=host), need) == 403
        assert status(local, Credentials(host=host, origin=f"http://{host}"), need) == 403
    assert status(local, bearer(WRITE, host=host), Role.WRITER) == (200 if tokens.write else 403)


@pytest.mark.parametrize(
    "host", ["", "localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "likd:8080", "a.localhost", "app.test"]
)
def test_a_name_of_this_machine_leads_to_what_is_open_to_it(host: str) -> None:
    assert status(gate(Tokens(), origins=("https://app.test",)), Credentials(host=host), Role.ADMIN) == 200


def test_a_page_that_is_let_in_may_read_the_answer() -> None:
    caller = gate(public_sites=SITES).admit(PEER, Credentials(origin="https://example.com"), Role.PUBLIC)
    assert caller.headers["Access-Control-Allow-Origin"] == "https://example.com"
    assert caller.headers["Vary"] == "Origin"


def test_a_page_that_is_let_in_may_read_that_its_token_is_wrong() -> None:
    with pytest.raises(Problem) as refused:
        gate(public_sites=SITES).admit(PEER, bearer("no-such-token", origin="https://example.com"), Role.PUBLIC)
    assert refused.value.headers["Access-Control-Allow-Origin"] == "https://example.com"


def test_a_session_is_only_for_the_daemons_own_pages() -> None:
    guarded = gate(public_sites=SITES)
    cookie = f"{COOKIE}={guarded.login(ADMIN)}"
    for origin, code in (("", 200), ("https://likes.example.org", 200), ("https://blog.example.org", 401)):
        credentials = Credentials(origin=origin, host="likes.example.org", cookie=cookie)
        assert status(guarded, credentials, Role.ADMIN) == code


def test_a_session_ends_with_its_logout_and_no_page_from_elsewhere_ends_it() -> None:
    guarded = gate(public_sites=SITES)
    first, second = (Credentials(cookie=f"a=b; {COOKIE}={guarded.login(ADMIN)}", host="likes.test") for _ in range(2))
    for origin in ("https://example.com", "https://evil.test", "null"):
        with pytest.raises(Problem):
            guarded.logout(attrs.evolve(first, origin=origin))
    assert status(guarded, first, Role.ADMIN) == 200
    guarded.logout(attrs.evolve(first, origin="https://likes.test"))
    assert (status(guarded, first, Role.ADMIN), status(guarded, second, Role.ADMIN)) == (401, 200)


async def test_logins_outlive_a_restart_and_logouts_do_too(tmp_path: Path) -> None:
    path = tmp_path / "logins"
    logins = Logins(b"key", path)
    kept, ended = logins.begin(), logins.begin()
    await logins.keep()
    assert logins.end(ended)
    await logins.keep()
    again = Logins(b"key", path)
    assert (again.holds(kept), again.holds(ended), again.end(ended)) == (True, False, False)
    assert not Logins(b"another key", path).holds(kept)
    assert kept.encode() not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_logins_end_in_time_and_are_few() -> None:
    now = 1000.0
    logins = Logins(b"key", clock=lambda: now)
    sessions = [logins.begin() for _ in range(LOGINS_MAX + 1)]
    assert [logins.holds(session) for session in (sessions[0], sessions[1], sessions[-1])] == [False, True, True]
    now += SESSION_SECONDS + 1
    assert not logins.holds(sessions[-1])
    logins.begin()
    assert len(logins._until) == 1


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"a":"b"}'])
def test_damaged_logins_are_forgotten(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "logins").write_bytes(data)
    logins = Logins(b"key", tmp_path / "logins")
    assert logins.holds(logins.begin())


@given(st.text(max_size=60) | st.from_regex(r'"?[0-9]{1,14}\.("|[0-9a-f]{60,70}|\\351|é)*', fullmatch=True))
def test_no_cookie_makes_trouble(value: str) -> None:
    for cookie in (f"{COOKIE}={value}", f'a="; {COOKIE}="{value}"', value):
        assert status(gate(), Credentials(cookie=cookie), Role.ADMIN) == 401


def test_a_session_is_as_good_as_the_admin_token_and_cannot_be_made_up() -> None:
    guarded = gate()
    session = guarded.login(ADMIN)
    assert session is not None
    assert guarded.login(WRITE) is None
    assert status(guarded, Credentials(cookie=f"{COOKIE}={session}"), Role.ADMIN) == 200
    until, _, digest = session.partition(".")
    for forged in (f"{int(until) + 1}.{digest}", f"{until}.{digest[:-1]}0", until, "", "x.y", f"{until}."):
        if forged != session:
            assert status(guarded, Credentials(cookie=f"{COOKIE}={forged}"), Role.ADMIN) == 401


def test_a_caller_past_its_limit_is_told_when_to_come_again() -> None:
    limited = gate(public_sites=SITES, address_rate=1.0, address_burst=3)
    seen = [status(limited, Credentials(), Role.PUBLIC) for _ in range(5)]
    assert seen == [200, 200, 200, 429, 429]
    assert status(limited, Credentials(), Role.PUBLIC, peer="198.51.100.1") == 200
    assert status(limited, bearer(WRITE), Role.PUBLIC) == 200
    with pytest.raises(Problem) as refused:
        limited.admit(PEER, Credentials(), Role.PUBLIC)
    assert refused.value.headers["RateLimit-Policy"] == '"events";q=3;w=3'
    assert refused.value.headers["RateLimit"].startswith('"events";r=0;t=')
    assert int(refused.value.headers["Retry-After"]) >= 1


def test_events_count_against_the_limit_one_by_one() -> None:
    limited = gate(public_sites=SITES, address_rate=1.0, address_burst=10)
    caller = limited.admit(PEER, Credentials(), Role.PUBLIC)
    limited.check_events(caller, {"like": {"https://example.com/": 20}}, (), 20)
    assert status(limited, Credentials(), Role.PUBLIC) == 429


def test_forwarded_addresses_are_believed_of_trusted_proxies_only() -> None:
    proxies = Proxies(["10.0.0.0/8", "::1"])
    assert proxies.client("10.0.0.1", "198.51.100.7") == "198.51.100.7"
    assert proxies.client("10.0.0.1", "1.2.3.4, 198.51.100.7, 10.9.9.9") == "198.51.100.7"
    assert proxies.client("203.0.113.9", "198.51.100.7") == "203.0.113.9"
    assert proxies.client("10.0.0.1", "") == "10.0.0.1"
    assert proxies.client("10.0.0.1", "nonsense") == "10.0.0.1"
    assert Proxies([]).client("10.0.0.1", "198.51.100.7") == "10.0.0.1"


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("198.51.100.7:5678", "198.51.100.7"),
        ("198.51.100.7:", "198.51.100.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[::ffff:198.51.100.7]:1", "198.51.100.7"),
        ('"198.51.100.7"', "198.51.100.7"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        (" 198.51.100.7\t", "198.51.100.7"),
        ("198.51.100.7, ,", "198.51.100.7"),
        ("198.51.100.7:5678, 10.9.9.9:80", "198.51.100.7"),
    ],
)
def test_a_hop_may_have_a_port_brackets_and_quotes(hop: str, address: str) -> None:
    assert Proxies(["10.0.0.0/8"]).client("10.0.0.1", f"192.0.2.1, {hop}") == address


@pytest.mark.parametrize(
    "hop",
    [
        "unknown",
        "_hidden",
        "198.51.100.7.",
        "[2001:db8::1",
        "198.51.100.7:x",
        "2001:db8::1:443443",
        "for=1.2.3.4",
        "1.2.3",
    ],
)
def test_what_stands_before_a_hop_that_cannot_be_read_is_not_believed(hop: str) -> None:
    proxies = Proxies(["10.0.0.0/8"])
    assert proxies.client("10.0.0.1", f"192.0.2.1, {hop}") == "10.0.0.1"
    assert proxies.client("10.0.0.1", f"192.0.2.1, {hop}, 10.0.0.2:80") == "10.0.0.2"


@given(st.text(max_size=80) | st.from_regex(r'[\[\]"0-9a-f.:,% ]*', fullmatch=True))
def test_no_chain_of_hops_makes_trouble(forwarded_for: str) -> None:
    ip_address(Proxies(["10.0.0.0/8"]).client("10.0.0.1", forwarded_for))


@pytest.mark.parametrize(
    "host",
    [
        "test",
        "example.com:8080",
        "example.com.",
        "my_host",
        "xn--e1afmkfd",
        "127.0.0.1",
        "[::1]",
        "[2001:db8::1]:443",
        "a:",
    ],
)
def test_a_host_is_a_name_or_an_address_and_maybe_a_port(host: str) -> None:
    assert valid_host(host)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            " ",
            "a b",
            "a/b",
            "a/",
            "/a",
            "a?b",
            "a#b",
            "a@b",
            "u:p@b",
            "a,b",
            "a, b",
            "http://a",
            "a\\b",
            "a%41",
            "é",
        ),
        *(
            "a:b",
            "a:b:c",
            "a:99999",
            "a:-1",
            "a:+1",
            ":80",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[a]",
            "[::1]x",
            "[1.2.3]",
            "[:]",
        ),
        *("a\x00", "a\n", "a\t", "<a>", "a" * 256, "[::1]:x", "a:1:2", "*", "a;b", "a'b", "a\u00a0b"),
    ],
)
def test_what_is_no_host_is_not_taken_for_one(host: str) -> None:
    assert not valid_host(host)


@given(st.text(max_size=30))
def test_every_host_can_be_judged(host: str) -> None:
    valid_host(host)


def test_a_badge_is_for_pages_that_could_use_it() -> None:
    local, guarded = gate(Tokens()), gate(bind=(Bind("0.0.0.0", 1),))
    for open_to_pages in (gate(public_sites=SITES), gate(origins=("https://app.test",))):
        assert open_to_pages.resource_policy("", "likes.test") == "cross-origin"
    assert local.resource_policy("http://localhost:3000/page", "127.0.0.1:8080") == "cross-origin"
    for referer in ("", "https://evil.test/", "nonsense", "http://localhost.evil.test/"):
        assert local.resource_policy(referer, "127.0.0.1:8080") == "same-origin"
        assert guarded.resource_policy(referer, "likes.test") == "same-origin"


def test_one_network_of_ipv6_is_one_caller() -> None:
    assert caller_of("2001:db8:1:2::1") == caller_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert caller_of("::ffff:192.0.2.1") == "::ffff:192.0.2.1"
    assert caller_of("192.0.2.1") == "192.0.2.1"


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 5)), max_size=60))
def test_nobody_gets_more_than_burst_and_rate(calls: list[tuple[float, int]]) -> None:
    now = 0.0
    limit = RateLimit(2.0, 7, clock=lambda: now)
    taken = debt = 0
    for wait, events in calls:
        now += wait
        if limit.take("me", events).allowed:
            taken += events
            debt = max(debt, events)
    assert taken <= 7 + 2.0 * now + debt


def test_callers_are_forgotten_past_their_number() -> None:
    limit = RateLimit(1.0, 1, callers_max=10, clock=lambda: 0.0)
    for number in range(1000):
        limit.take(str(number))
    assert len(limit._buckets) == 10


def test_hosts_are_matched_whole() -> None:
    assert "anything.test" in Hosts(["*"])
    assert "example.org" not in Hosts(["*.example.org"])
    assert not Hosts([])


def test_tokens_come_from_files_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# edge servers\n{WRITE}\n\n")
    tokens = load_tokens(Config(write_tokens_file=str(file)), {"LIKD_ADMIN_TOKEN": ADMIN})
    assert tokens == TOKENS
    assert WRITE not in repr(tokens)


def named(tmp_path: Path, text: str) -> Config:
    (tmp_path / "named").write_text(text)
    return Config(tokens_file=str(tmp_path / "named"))


def test_tokens_of_a_file_have_names_which_the_log_tells(tmp_path: Path) -> None:
    config = named(tmp_path, f"# who\nadmin ops {ADMIN}\n\nwriter shop {WRITE}\nwriter shop another:token:of:theirs\n")
    tokens = load_tokens(config, {"LIKD_WRITE_TOKENS": "name:of-nobody-but-a-token"})
    assert (tokens.role(ADMIN.encode()), tokens.role(WRITE.encode())) == (Role.ADMIN, Role.WRITER)
    assert tokens.role(b"name:of-nobody-but-a-token") is Role.WRITER
    assert ADMIN not in repr(tokens)
    named_gate, other = gate(tokens, bind=(Bind("0.0.0.0", 1),)), gate()
    called = [named_gate.called(named_gate.admit(PEER, bearer(token), Role.WRITER)) for token in (ADMIN, WRITE)]
    assert called == ["token ops", "token shop"]
    with capture_logs() as logs, pytest.raises(Problem):
        named_gate.admit(PEER, bearer("another:token:of:theirs"), Role.ADMIN)
    assert [line["name"] for line in logs] == ["token shop"]
    with capture_logs() as logs:
        named_gate.login(ADMIN)
    assert [(line["event"], line["by"]) for line in logs] == [("logged in", "token ops")]
    assert (other.called(Caller(Role.ADMIN)), gate(Tokens()).called(UNRESTRICTED)) == ("login", "no token")
    # Its limits and its keys stay what they were without a name.
    assert named_gate.admit(PEER, bearer(WRITE), Role.PUBLIC).name == other.admit(PEER, bearer(WRITE), Role.PUBLIC).name


def test_tokens_of_one_name_have_a_limit_each(tmp_path: Path) -> None:
    tokens = load_tokens(named(tmp_path, f"writer shop {WRITE}\nwriter shop {WRITE}-2\n"), {})
    limited = gate(tokens, token_rate=0.1, token_burst=1)
    asked = [status(limited, bearer(token), Role.PUBLIC) for token in (WRITE, WRITE, f"{WRITE}-2")]
    assert asked == [200, 429, 200]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no token found"),
        (f"\n{ADMIN}", "line 2: expected a role, a name and a token"),
        (f"root ops {ADMIN}", "line 1: expected a role, a name and a token; roles are admin, writer"),
        (f"{ADMIN} ops admin", "line 1: expected a role"),
        (f"admin o/ps {ADMIN}", "line 1: expected a name"),
        ("admin ops short-token", "line 1: a token needs at least 16"),
        (f"admin {ADMIN} ops", "line 1: a token needs at least 16"),
        (f"admin a {ADMIN}\nwriter b {ADMIN}", "line 2: the token repeats one"),
        (f"admin ops \u00e9{ADMIN}", "can't read"),
    ],
)
def test_a_wrong_line_is_refused_and_no_secret_repeated(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong) as refused:
        load_tokens(named(tmp_path, text), {})
    assert ADMIN not in str(refused.value)
    assert "short-token" not in str(refused.value)


@pytest.mark.parametrize("token", ["short", "with a space in its middle", "\u00e9" * 20])
def test_a_poor_token_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(ConfigError, match="at least 16") as refused:
        load_tokens(Config(), {"LIKD_ADMIN_TOKEN": token})
    assert token not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "safe"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_other_machines_are_not_let_in_by_accident(host: str, safe: bool) -> None:
    config = Config(bind=(Bind(host, 8080),))
    if safe:
        refuse_unsafe(config, Tokens())
    else:
        with pytest.raises(ConfigError, match="no admin token"):
            refuse_unsafe(config, Tokens())
    refuse_unsafe(config, TOKENS)
    refuse_unsafe(Config(bind=(Bind(host, 8080),), insecure=True), Tokens())


def test_one_address_gets_some_of_the_seats_and_a_proxy_all() -> None:
    seats = ConnectionLimit(6, 2, Proxies(["10.0.0.1"]))
    first = seats.take(PEER)
    assert first is not None
    assert [seats.take(address) is not None for address in (PEER, PEER, "2001:db8::1")] == [True, False, True]
    first()
    assert seats.take(PEER) is not None
    assert [seats.take("10.0.0.1") is not None for _ in range(4)] == [True, True, True, False]
    assert (seats.open, seats.refused) == (6, 2)


def test_who_names_a_source_of_tokens_and_gives_none_is_told_so(tmp_path: Path) -> None:
    empty = tmp_path / "tokens"
    empty.write_text("# none yet\n")
    with pytest.raises(ConfigError, match="no token found"):
        load_tokens(Config(admin_token_file=str(empty)), {})
    with pytest.raises(ConfigError, match="LIKD_ADMIN_TOKEN: no token found"):
        load_tokens(Config(), {"LIKD_ADMIN_TOKEN": " "})


def test_a_mark_before_the_text_is_no_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(b"\xef\xbb\xbf" + ADMIN.encode() + b"\r\n")
    assert load_tokens(Config(admin_token_file=str(tmp_path / "tokens")), {}).admin == (ADMIN.encode(),)
    (tmp_path / "likd.toml").write_bytes(b'\xef\xbb\xbfpublic_actors = "free"\r\n')
    assert load({}, file=tmp_path / "likd.toml", environment={}).public_actors == "free"
