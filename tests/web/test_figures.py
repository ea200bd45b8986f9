"""Figures are written in the same way by the daemon and by the scripts of its pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.web import figures

CASES = json.loads(Path(__file__).with_name("figures.json").read_text())
"""Read by the browser tests, too."""


@pytest.mark.parametrize(
    ("name", "arguments", "written"),
    [(name, arguments, written) for name, cases in CASES.items() for arguments, written in cases],
)
def test_a_figure_is_written_like_this(name: str, arguments: list[Any], written: str) -> None:
    assert getattr(figures, name)(*arguments) == written


@given(st.integers(0, 2**62))
def test_a_count_is_never_written_larger_than_it_is(count: int) -> None:
    written = figures.compact(count)
    sizes = {"K": 10**3, "M": 10**6, "B": 10**9}
    shown = float(written.rstrip("KMB").replace(",", "")) * sizes.get(written[-1], 1)
    assert shown <= count * (1 + 1e-12)
    assert count - shown <= count / 100
