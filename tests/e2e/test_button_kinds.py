"""A button counts another kind than likes, once a visitor or several times, beside buttons that like the same page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemon import Client, Daemon, wait_until
from tests.e2e.browsers import Site, counts, expect, face, shows

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def clapping(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    path = tmp_path_factory.mktemp("clapping") / "data"
    flags = ["--public-sites", "example.com,localhost", "--address-rate", "0", "--live-interval", "0.05"]
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": "an-admin-token-for-this"}
    with Daemon(path, *flags, "--kinds", "clap", environment=environment) as daemon:
        yield daemon


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return f"https://example.com/{request.node.originalname}"


def clap(daemon: Daemon, url: str, actor: str) -> None:
    with Client(daemon.address) as client:
        body = b'{"kind":"clap","url":"%s","actor":"%s"}' % (url.encode(), actor.encode())
        assert client.request("POST", "/v1/events", body).status == 202


def given(daemon: Daemon, url: str, claps: int, unclaps: int, likes: int = 0) -> None:
    wait_until(
        lambda: counts(daemon, url).items() >= {"claps": claps, "unclaps": unclaps, "likes": likes}.items(),
    )


def test_a_kind_is_given_and_taken_back_beside_likes_of_the_same_page(
    context: Any, clapping: Daemon, site: Site, url: str
) -> None:
    page = context.new_page()
    page.add_init_script("""
        const note = ({ type }) => { sessionStorage.told = [sessionStorage.told, type].join(" ").trim(); };
        for (const kind of ["clap", "unclap", "like"]) addEventListener(kind, note);
    """)
    buttons = f'<like-button id="clap" kind="clap" url="{url}"></like-button><like-button id="like" url="{url}">'
    page.goto(site.write(clapping.url, buttons))
    shows(page, 0, which="clap")
    assert face(page, "clap").get_attribute("aria-label") == "Clap, 0"
    face(page, "clap").click()
    shows(page, 1, liked=True, which="clap")
    shows(page, 0, which="like")
    face(page, "like").click()
    given(clapping, url, 1, 0, 1)
    clap(clapping, url, "another")
    shows(page, 2, liked=True, which="clap")
    page.reload()
    shows(page, 2, liked=True, which="clap")
    shows(page, 1, liked=True, which="like")
    face(page, "clap").click()
    shows(page, 1, which="clap")
    given(clapping, url, 2, 1, 1)
    assert page.evaluate("sessionStorage.told") == "clap like unclap"


def test_one_visitor_claps_several_times_and_takes_all_back_with_the_next(
    context: Any, clapping: Daemon, site: Site, url: str
) -> None:
    page = context.new_page()
    page.goto(site.write(clapping.url, f'<like-button kind="clap" max="3" url="{url}"></like-button>'))
    clap(clapping, url, "another")
    shows(page, 1)
    face(page).dblclick()
    shows(page, 3, liked=True)
    given(clapping, url, 3, 0)
    page.reload()
    shows(page, 3, liked=True)
    assert page.evaluate("document.querySelector('like-button').given") == 2
    face(page).click()
    shows(page, 4, liked=True)
    assert face(page).get_attribute("aria-label") == "Clap, 4 (3/3)"
    given(clapping, url, 4, 0)
    face(page).click()
    shows(page, 1)
    given(clapping, url, 4, 3)
    face(page).click()
    shows(page, 2, liked=True)
    given(clapping, url, 5, 3)


def test_claps_of_an_outage_are_each_sent_once_later(context: Any, clapping: Daemon, site: Site, url: str) -> None:
    page = context.new_page()
    page.goto(site.write(clapping.url, f'<like-button kind="clap" max="5" url="{url}"></like-button>'))
    shows(page, 0)
    context.route("**/v1/events", lambda route: route.abort())
    for _ in range(3):
        face(page).click()
    shows(page, 3, liked=True)
    given(clapping, url, 0, 0)
    context.unroute("**/v1/events")
    given(clapping, url, 3, 0)
    shows(page, 3, liked=True)


def test_a_kind_that_the_server_does_not_count_disables_its_button_alone(
    context: Any, clapping: Daemon, site: Site, url: str
) -> None:
    page = context.new_page()
    warned: list[str] = []
    page.on("console", lambda message: warned.append(message.text))
    buttons = f'<like-button id="no" kind="wow" url="{url}"></like-button><like-button id="yes" url="{url}">'
    page.goto(site.write(clapping.url, buttons))
    expect(face(page, "no")).to_be_disabled()
    face(page, "yes").click()
    shows(page, 1, liked=True, which="yes")
    given(clapping, url, 0, 0, 1)
    assert [text for text in warned if 'kind is "wow"; expected a kind that the server counts' in text]
    page.evaluate("document.querySelector('#no').kind = 'clap'")
    face(page, "no").click()
    given(clapping, url, 1, 0, 1)


def test_a_refused_clap_is_taken_back(context: Any, clapping: Daemon, site: Site, url: str) -> None:
    page = context.new_page()
    page.goto(site.write(clapping.url, f'<like-button kind="clap" max="5" url="{url}"></like-button>'))
    face(page).click()
    given(clapping, url, 1, 0)
    shows(page, 1, liked=True)
    problem = '{"status":403,"detail":"not today"}'
    headers = {"Content-Type": "application/problem+json", "Access-Control-Allow-Origin": "*"}
    context.route("**/v1/events", lambda route: route.fulfill(status=403, headers=headers, body=problem))
    face(page).click()
    shows(page, 1, liked=True)
    assert page.evaluate("document.querySelector('like-button').given") == 1
