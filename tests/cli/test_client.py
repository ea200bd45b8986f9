"""Which way requests of the command line go."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likd.cli.client import ClientError, Daemon, open_client, proxy_for

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://[::1]:8080",
            "http://localhost:8080",
            "http://LOCALHOST.",
        ),
        *("https://likd.localhost", "http://[::ffff:127.0.0.1]", "http://0.0.0.0:8080"),
    ],
)
def test_what_is_for_this_machine_goes_by_no_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, PROXY)
    assert proxy_for(url) is None


@pytest.mark.parametrize(
    ("exempt", "url", "direct"),
    [
        ("", "http://likd.example", False),
        ("*", "http://likd.example", True),
        ("likd.example", "http://likd.example:8080", True),
        ("LIKD.example", "http://likd.EXAMPLE.", True),
        (".example", "http://likd.example", True),
        ("*.example", "http://likd.example", True),
        ("example", "http://likd.example", True),
        ("kd.example", "http://likd.example", False),
        ("other.test, likd.example", "http://likd.example", True),
        ("other.test likd.example", "http://likd.example", True),
        ("likd.example:8080", "http://likd.example:8080", True),
        ("likd.example:8080", "http://likd.example", False),
        ("likd.example:443", "https://likd.example", True),
        ("10.0.0.5", "http://10.0.0.5", True),
        ("10.0.0.0/8", "http://10.0.0.5:8080", True),
        ("10.0.0.0/8", "http://11.0.0.5", False),
        ("fd00::/8", "http://[fd00::5]:8080", True),
        ("[fd00::5]:8080", "http://[fd00::5]:8080", True),
        ("fd00::5", "http://[fd00::5]", True),
    ],
)
def test_no_proxy_is_honoured(exempt: str, url: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", exempt)
    assert proxy_for(url) == (None if direct else PROXY)


def test_a_proxy_is_chosen_by_the_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "one.example:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://two.example:2")
    assert proxy_for("http://likd.example") == "http://one.example:1"
    assert proxy_for("https://likd.example") == "http://two.example:2"


TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=30)


@settings(max_examples=40)
@given(TEXT, TEXT)
def test_any_environment_is_a_client_or_one_line_that_says_why_not(proxy: str, exempt: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALL_PROXY", proxy)
        patch.setenv("NO_PROXY", exempt)
        try:
            open_client(Daemon("http://likd.example", "secret"), 1.0)
        except ClientError as error:
            assert str(error).isprintable()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSLKEYLOGFILE"])
def test_certificates_that_are_not_there_are_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/nowhere/at/all")
    with pytest.raises(ClientError, match="No such file"):
        open_client(Daemon("https://likd.example"), 1.0)


def test_a_proxys_password_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks9://name:secret@proxy.example:1")
    with pytest.raises(ClientError, match=r"proxy\.example") as refused:
        open_client(Daemon("http://likd.example"), 1.0)
    assert "secret" not in str(refused.value)
