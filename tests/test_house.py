"""The house rules: imports run one way, from the command line down to the model."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = """
    cli
    upkeep
    daemon
    web.compose
    web.server
    web.fronts web.live
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
    errors
"""
"""Each room may use the rooms below it, and none beside it."""

LEVEL = {room: level for level, line in enumerate(LAYERS.split("\n")) for room in line.split()}
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "likd").rglob("*.py"))


def room_of(module: str) -> str | None:
    """The room that `module` is in; none for likd itself, whose version everybody may know."""
    parts = module.split(".")[1:]
    room = ".".join(parts[:2] if parts[:1] == ["web"] else parts[:1])
    return room if room in LEVEL else None


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
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


def test_every_file_has_its_room() -> None:
    outside = {"likd/__init__.py", "likd/__main__.py", "likd/handlers.py", "likd/web/__init__.py"}
    homeless = {
        str(path) for path in FILES if room_of(".".join(path.with_suffix("").parts).removesuffix(".__init__")) is None
    }
    assert homeless <= outside
