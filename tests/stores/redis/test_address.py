"""Where a cluster is, as its URL says, and no word of its password."""

from __future__ import annotations

from pathlib import Path

import pytest

from likd.errors import StartError
from tests import redis_cluster

if redis_cluster.why_not("redis").startswith("coredis"):
    pytest.skip("coredis is not installed: pip install 'likd[redis]'", allow_module_level=True)

from likd.stores.redis.address import Node, parse


def test_a_url_names_servers_user_and_prefix() -> None:
    address = parse("ann@one.example:7000,[::1]:7001,three.example/likes.eu", environ={})
    assert address.nodes == (Node("one.example", 7000), Node("::1", 7001), Node("three.example", 6379))
    assert (address.user, address.password, address.prefix, address.tls) == ("ann", "", "likes.eu", None)
    assert parse("one.example", environ={}).prefix == "likd"


def test_the_password_is_of_the_environment_of_a_file_or_of_the_url_and_is_told_nobody(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("two words\n")
    for environ in ({"LIKD_REDIS_PASSWORD": "two words"}, {"LIKD_REDIS_PASSWORD_FILE": str(tmp_path / "password")}):
        assert parse("ann@one.example", environ=environ).password == "two words"
    address = parse("ann:two%20words@one.example", environ={})
    assert (address.user, address.password) == ("ann", "two words")
    assert "words" not in repr(address)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "names a server that is none"),
        ("one.example:port", "names a server that is none"),
        ("one.example:70000", "names a server that is none"),
        ("ann:secret@one.example:7000,:7001", "names a server that is none"),
        ("one.example/a{b}", "prefix 'a{b}'"),
        ("one.example/likd?db=3", "'db'"),
        ("one.example/likd?ca=ca.pem", "rediss"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_without_the_password(rest: str, said: str) -> None:
    with pytest.raises(StartError) as error:
        parse(rest, environ={})
    assert said in str(error.value)
    assert "secret" not in str(error.value)


def test_a_password_file_or_a_certificate_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="LIKD_REDIS_PASSWORD_FILE"):
        parse("one.example", environ={"LIKD_REDIS_PASSWORD_FILE": str(tmp_path / "none")})
    with pytest.raises(StartError, match="TLS"):
        parse(f"one.example?ca={tmp_path}/none", tls=True, environ={})
