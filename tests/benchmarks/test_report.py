"""Figures as a table and as a plot."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks.contest import ACKNOWLEDGED, P99, PROCESSOR, Bench, Case, Outcome, Version
from benchmarks.markdown import BEGIN, END, has_place, markdown, number, ratios, replace
from benchmarks.plot import curves, styles, svg, ticks
from hypothesis import given
from hypothesis import strategies as st

CASES = [Case(f"{n} connections", [], "connections", n) for n in (1, 64)]
OUTCOMES = [
    Outcome(
        "single", case, who, [{ACKNOWLEDGED: 1000.0 * factor, P99: 2.0, PROCESSOR: cost} for cost in (1.0, 9.0, 3.0)]
    )
    for case in CASES
    for who, factor in (("likd", 3), ("Redis INCR, unpipelined", 6))
]


def test_each_figure_of_likd_stands_beside_that_of_its_peer() -> None:
    assert list(ratios(OUTCOMES))[:3] == [
        ("1 connections", "Redis INCR, unpipelined", ACKNOWLEDGED, 3000.0, 6000.0),
        ("1 connections", "Redis INCR, unpipelined", P99, 2.0, 2.0),
        ("1 connections", "Redis INCR, unpipelined", PROCESSOR, 3.0, 3.0),
    ]


def test_a_table_has_medians_with_the_lowest_and_the_highest(tmp_path: Path) -> None:
    bench = Bench([Version("likd", tmp_path)], tmp_path, outcomes=OUTCOMES, missing=["nchan: no figures"])

    text = markdown(bench, "scripts/bench --only single", "images/plot.svg")

    assert "| likd | 3,000 | 2 | 3 (1 to 9) |" in text
    assert f"| 64 connections | Redis INCR, unpipelined | {ACKNOWLEDGED} | 3,000 | 6,000 | 0.5 |" in text
    assert "(images/plot.svg)" in text
    assert "- missing: nchan: no figures" in text


def test_figures_replace_figures_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "benchmarks.md"
    file.write_text(f"before\n{BEGIN}old{END}\nafter\n")

    replace(file, "new\n")

    assert file.read_text() == f"before\n{BEGIN}\nnew\n\n{END}\nafter\n"
    assert has_place(file)
    assert not has_place(tmp_path / "other.md")


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.123456, "0.123"), (12.34, "12.3"), (999.6, "1,000"), (12_345, "12,300"), (1_449_999, "1,450,000")],
)
def test_a_number_has_three_digits_that_count(value: float, said: str) -> None:
    assert number(value) == said


def test_a_plot_is_an_image_with_a_panel_for_each_curve_on_light_and_dark_ground() -> None:
    image = svg(OUTCOMES)

    root = ElementTree.fromstring(image)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"connections", "likd", "Redis INCR", "64", "µs of processor time, a single like"} <= set(texts)
    assert "prefers-color-scheme: dark" in image
    assert curves(OUTCOMES)["connections"]["likd"] == [(1, 3.0), (64, 3.0)]


def test_peers_look_alike_in_all_panels_and_unlike_each_version_of_likd() -> None:
    assert styles(["likd", "likd v1", "nchan"]) == {"likd": 0, "likd v1": 1, "nchan": 2}
    assert styles(["likd", "Redis INCR", "Redis MULTI"]) == {"likd": 0, "Redis INCR": 2, "Redis MULTI": 3}


def test_nothing_measured_is_no_plot() -> None:
    assert svg([]) == ""


@given(st.floats(min_value=1e-3, max_value=1e6))
def test_ticks_are_few_and_reach_the_highest(most: float) -> None:
    marks = ticks(most)

    assert marks[0] == 0
    assert marks[-1] >= most * (1 - 1e-9)
    assert 3 <= len(marks) <= 7
