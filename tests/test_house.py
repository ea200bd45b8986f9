"""The house rules: imports run one way, from the command line down to the model."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = """
    cli
    upkeep
    daemon
    web.compose
    web.server
    web.fronts
    web.live
    web.express web.full
    web.api
    web.access web.answers web.clients web.listeners web.tls
    web.figures web.problems web.query_string
    status
    engine
    draining
    queries
    counting recovery testing
    durability ingest
    plugins stores
    model runtime config
    errors time_zones
"""
"""Each room may use the rooms below it, and none beside it."""

LEVEL = {room: level for level, line in enumerate(LAYERS.split("\n")) for room in line.split()}
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "likd").rglob("*.py"))


def room_of(module: str) -> str | None:
    """The room that `module` is in; none for likd itself, whose version everybody may know."""
    parts = module.split(".")[1:]
    room = ".".join(parts[:2] if parts[:1] == ["web"] else parts[:1])
    return room if room in LEVEL else None


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "likd":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "likd")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_run_downwards(path: Path) -> None:
    mine = room_of(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
    if mine is None:
        return
    for module in imported(path):
        theirs = room_of(module)
        if theirs is not None and theirs != mine:
            assert LEVEL[theirs] > LEVEL[mine], f"{path}: {mine} must not use {module}"


def private_reads(path: Path) -> Iterator[str]:
    """What `path` reads of an object that is not the one whose method it is in."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls", "super()"):
                yield f"{owner}.{node.attr}"


PRIVATE_BY_NAME_ONLY = {"os._exit", "sys._current_frames", "fold._replace"}
"""What the library documents in spite of its name."""


def test_no_part_reads_what_is_private_to_another() -> None:
    found = {str(path): set(private_reads(path)) - PRIVATE_BY_NAME_ONLY for path in FILES}
    assert {path: read for path, read in found.items() if read} == {}


COMPOSITION = {"likd/config/settings.py", "likd/daemon.py", "likd/upkeep.py", "likd/web/compose.py"}
"""Who composes the daemon, apart from the commands: parts get the settings of their group, or a few values."""


def test_no_part_gets_all_settings() -> None:
    named = {
        str(path)
        for path in FILES
        if path.parts[1] != "cli" and any(module == "likd.config.settings.Config" for module in imported(path))
    }
    assert named <= COMPOSITION


READ_OF_THE_ENGINE = {
    *("engine.handlers.kinds", "engine.handlers.counts", "engine.root.name", "engine.clock.now"),
    *(f"engine.store.{name}" for name in ("kind", "node", "epoch")),
    *(f"engine.config.{name}" for name in ("inbox_max", "tables_waiting_max", "rows_waiting_max", "counters_max")),
    "engine.config.aside_bytes_max",
}
"""What a part is, and how it was set up: its figures are in its `statistics()`."""


@pytest.mark.parametrize("path", ["likd/status.py", "likd/web/full/metrics.py", "likd/web/full/routes.py"])
def test_status_and_metrics_ask_the_parts_for_their_statistics(path: str) -> None:
    read = set()
    for node in ast.walk(tree_of(Path(path))):
        if isinstance(node, ast.Attribute):
            match = re.search(r"\bengine\.(\w+)\.(\w+)$", ast.unparse(node))
            if match and match[2] != "statistics":
                read.add(match[0])
    assert read <= READ_OF_THE_ENGINE


def statistics_classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    for path in FILES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Statistics"):
                yield path, node


@pytest.mark.parametrize(("path", "found"), list(statistics_classes()), ids=lambda each: getattr(each, "name", ""))
def test_statistics_are_frozen_and_say_what_each_figure_is(path: Path, found: ast.ClassDef) -> None:
    assert any("frozen" in ast.unparse(decorator) for decorator in found.decorator_list)
    for field, behind in zip(found.body, [*found.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            explained = isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant)
            assert explained or "Statistics" in ast.unparse(field.annotation), f"{path}: {ast.unparse(field)}"


OLD_PLACES = ("handlers", "counter", "events")
"""What packages with handlers and observers imported once."""


def test_every_file_has_its_room() -> None:
    outside = {*(f"likd/{name}.py" for name in ("__init__", "__main__", *OLD_PLACES)), "likd/web/__init__.py"}
    homeless = {
        str(path) for path in FILES if room_of(".".join(path.with_suffix("").parts).removesuffix(".__init__")) is None
    }
    assert homeless <= outside


def test_the_table_for_contributors_names_every_room() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| package |")[2].partition("\n\n")[0]
    rooms = {path.parts[1] for path in FILES} - {"__init__.py", "__main__.py"}
    assert {room for room in rooms if f"`likd/{room}" not in table and f"`{room}`" not in table} == set()


def test_the_way_of_a_like_leads_through_files_that_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    linked = re.findall(r"\]\(\.\./(likd/[^)#]*)\)", text)
    assert linked
    assert [path for path in linked if not (ROOT / path).exists()] == []
