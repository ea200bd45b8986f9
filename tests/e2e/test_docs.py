"""The documentation tells of all there is, and its commands do what it says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from likd.cli import COMMANDS, main
from likd.config.settings import settings
from tests.daemon import PATIENCE_SECONDS, Client, Daemon

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
WITH_CURL = [ROOT / "README.md", ROOT / "docs" / "tutorial.md"]
"""Those whose commands can be run from their beginning to their end, one after the other."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("docs") / "data") as daemon:
        yield daemon


def commands(page: Path) -> list[tuple[str, str]]:
    """Each command in the indented blocks of a page, with the answer that is shown below it, if one is."""
    found: list[tuple[str, str]] = []
    lines = [line[4:] for line in page.read_text().splitlines() if line.startswith("    ")]
    going_on = False
    for line in lines:
        if going_on:
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        elif line.startswith("{") and found and not found[-1][1]:
            found[-1] = (found[-1][0], line)
        else:
            found.append((line, ""))
        going_on = line.endswith(("|", "\\")) and not line.startswith("{")
    return found


def test_every_setting_is_documented_with_its_default_in_the_words_of_its_help() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for setting in settings():
        assert f"| `{setting.flag}` | `{setting.variable}` |" in text, setting.name
        assert f"| {setting.default} |" in text, setting.name
        assert f"| {setting.help} |" in text, setting.name


def test_every_command_is_documented_with_all_its_options() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    for name in COMMANDS:
        assert f"\n## likd {name}\n" in text, name
        section = text.partition(f"\n## likd {name}\n")[2].partition("\n## ")[0]
        command = main.get_command(click.Context(main), name)
        assert command is not None
        # Settings have a page of their own.
        others = [each for each in command.params if each.name not in [setting.name for setting in settings()]]
        for parameter in others:
            if isinstance(parameter, click.Option) and not parameter.hidden and "--help" not in parameter.opts:
                option = max(parameter.opts, key=len)
                assert option in section or option in text.partition("\n## ")[0], f"likd {name} {option}"


def test_every_route_is_described_and_documented(daemon: Daemon) -> None:
    text = (ROOT / "docs" / "http-api.md").read_text()
    with Client(daemon.address) as client:
        described = client.request("GET", "/openapi.json").json["paths"]
    source = "\n".join(path.read_text() for path in (ROOT / "likd" / "web").rglob("*.py"))
    routes = set(re.findall(r"@app\.(?:route|get|post|put|delete|websocket)\(\s*\"(/[^\"]+)\"", source))
    assert {"/v1/events", "/v1/counts", "/v1/live"} <= routes
    for route in routes:
        if route.startswith("/v1/") and route not in ("/v1/live", "/v1/fault"):
            assert route in described, route
        if route.startswith("/v1/") and route != "/v1/fault":
            assert route in text, route


def test_every_metric_is_documented_in_the_words_of_its_help(daemon: Daemon) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    with Client(daemon.address) as client:
        metrics = client.request("GET", "/metrics").body.decode()
    helps = dict(re.findall(r"^# HELP (likd_\w+) (.*)$", metrics, re.MULTILINE))
    documented = dict(re.findall(r"^\| `(likd_\w+)`.* \| (?:counter|gauge|histogram) \| (.*) \|$", text, re.MULTILINE))
    assert len(helps) > 20
    assert documented == helps


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_likd_are_written_as_it_takes_them(page: Path) -> None:
    for line, _ in commands(page):
        words = shlex.split(line, comments=True) if re.match(r"(\.venv/bin/)?likd [a-z]+ ", line) else []
        # What it says begins with its name, too.
        if len(words) < 2 or words[1] not in COMMANDS:
            continue
        module = import_module(f"likd.cli.{words[1]}_" if words[1] == "import" else f"likd.cli.{words[1]}")
        command: click.Command = getattr(module, module.__name__.rpartition(".")[2])
        command.make_parser(click.Context(command)).parse_args(words[2:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], heading


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: the commands of the docs are not run")
@pytest.mark.parametrize("page", WITH_CURL, ids=lambda page: page.name)
def test_commands_with_curl_are_answered_as_the_page_shows(page: Path, tmp_path: Path) -> None:
    ran = 0
    with Daemon(tmp_path / "data") as daemon:
        for line, shown in commands(page):
            if "curl " not in line or "127.0.0.1:8080" not in line:
                continue
            line = line.replace("http://127.0.0.1:8080", daemon.url).replace("curl ", "curl -sS --noproxy '*' ")
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
            assert done.returncode == 0, done.stderr
            answer = json.loads(done.stdout)
            if shown:
                assert done.stdout.strip() == shown, line
            else:
                assert "title" not in answer, answer
            ran += 1
    assert ran >= 2
