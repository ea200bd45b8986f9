"""Crawlers are known by their User-Agent, at a price that nobody can drive up."""

from __future__ import annotations

import pytest
from crawlerdetect import CrawlerDetect
from crawlerdetect.providers import crawlers
from hypothesis import given
from hypothesis import strategies as st

from likd.web.access.crawlers import AGENT_CHARACTERS_MAX, AGENTS_MAX, _is_crawler, is_crawler

BROWSERS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 9; CUBOT X19) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Mobile Safari/537.36",
    "",
]
PROGRAMS = ["curl/8.14.1", "Googlebot/2.1", "my_crawl-er", "HeadlessChrome/140", "facebookexternalhit/1.1", "Java/1.8"]


@pytest.mark.parametrize("agent", BROWSERS)
def test_browsers_are_none(agent: str) -> None:
    assert not is_crawler(agent)


@pytest.mark.parametrize("agent", PROGRAMS)
def test_programs_are(agent: str) -> None:
    assert is_crawler(agent)


pieces = st.sampled_from([*BROWSERS, *PROGRAMS, *(name.replace("\\", "") for name in crawlers.data)]) | st.text(
    max_size=9
)


@given(st.lists(pieces, min_size=1, max_size=3).map(" ".join))
def test_the_library_says_the_same(agent: str) -> None:
    agent = agent[:AGENT_CHARACTERS_MAX].strip()
    assert is_crawler(agent) == CrawlerDetect().is_crawler(agent)


def test_what_is_made_up_costs_bounded_memory() -> None:
    for number in range(10):
        is_crawler(f"{number}" + "x" * 100_000)
    assert not is_crawler("x" * AGENT_CHARACTERS_MAX + "Googlebot")
    assert _is_crawler.cache_info().maxsize == AGENTS_MAX
