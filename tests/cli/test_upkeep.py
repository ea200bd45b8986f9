"""`likd drain`, `likd adopt` and `likd retire`, on real data directories and stores."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from likd.cli import main
from likd.durability import batch_file, data_dir
from likd.durability.batch_file import Batch
from likd.durability.filenames import BATCH, DAMAGED
from likd.stores.database import Database
from likd.stores.protocol import Retention
from likd.stores.registry import Place, open_url
from tests import postgres

A, B = "https://a.example/", "https://b.example/"
NAMES = ("likes", "unlikes", "impressions")
SECRET = "5" * 64


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that directories can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.db"
    return postgres.server().database()


@pytest.fixture
def likd(store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("LIKD_ACTOR_SECRET", SECRET)
    monkeypatch.setenv("LIKD_STORE", store)
    return lambda *arguments: CliRunner().invoke(main, list(map(str, arguments)))


def directory(path: Path, tables: dict[int, int]) -> Path:
    """A data directory in which these tables wait, with so many likes of A each."""
    path.mkdir(exist_ok=True)
    for table, likes in tables.items():
        batch = Batch(table, 1.79e9, 1.79e9, ("likes",), {A: {"likes": likes}})
        (path / BATCH.name(table)).write_bytes(batch_file.encode(batch))
    return path


def likes(store: str, path: Path) -> int:
    source = data_dir.source(path)
    place = Place(
        data_dir=path, source=source, retention=Retention(), cache_mib=1, url_key=str.encode, secret_fingerprint="?"
    )
    database = open_url(store, place)
    assert isinstance(database, Database)
    # Whoever only reads likes needs no secret.
    database._check_secret = lambda _: None  # type: ignore[attr-defined]
    database.open(NAMES)
    try:
        return database.read([A])[1].get(A, {}).get("likes", 0)
    finally:
        database.close()


def waiting(path: Path) -> list[str]:
    return BATCH.among(sorted(file.name for file in path.iterdir()))


def test_drain_empties_a_directory_once(likd: Callable[..., Result], store: str, tmp_path: Path) -> None:
    path = directory(tmp_path / "one", {1: 3, 2: 4})
    for rows in (1, 0):
        done = likd("drain", "--data-dir", path)
        assert (done.exit_code, done.output) == (0, f"{rows} rows were written\n")
    assert likes(store, path) == 7


def test_drain_says_what_it_could_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKD_ACTOR_SECRET", SECRET)
    path = directory(tmp_path / "one", {1: 3, 2: 4})
    away = "postgresql://likd@127.0.0.1:1/none"
    done = CliRunner().invoke(main, ["drain", "--data-dir", str(path), "--store", away])
    assert done.exit_code == 1
    assert "2 tables with 2 rows are left: postgresql:" in done.output
    assert len(waiting(path)) == 2


def test_an_adopted_directory_counts_what_waits_for_another_node(
    likd: Callable[..., Result], store: str, tmp_path: Path
) -> None:
    one = directory(tmp_path / "one", {1: 3})
    assert likd("drain", "--data-dir", one).exit_code == 0
    directory(one, {2: 40})
    source = data_dir.source(one)
    done = likd("adopt", "--data-dir", one)
    assert (done.exit_code, done.output) == (
        0,
        "this is a directory of its own now; 40 likes in it are yet to be counted\n",
    )
    assert data_dir.source(one) != source
    assert waiting(one) == [BATCH.name(2)]
    assert likd("drain", "--data-dir", one).exit_code == 0
    assert likes(store, one) == 43


@pytest.mark.parametrize(("choice", "counted"), [("count", 1243), ("drop", 1203)])
def test_of_a_copy_that_the_other_went_on_from_somebody_has_to_say_what_waits(
    likd: Callable[..., Result], store: str, tmp_path: Path, choice: str, counted: int
) -> None:
    one = directory(tmp_path / "one", {1: 3})
    assert likd("drain", "--data-dir", one).exit_code == 0
    two = tmp_path / "two"
    shutil.copytree(one, two)
    directory(one, {2: 40})
    directory(two, {2: 200, 3: 1000})
    assert likd("drain", "--data-dir", two).exit_code == 0

    refused = likd("adopt", "--data-dir", one)
    assert refused.exit_code == 1
    assert "the store has tables 2 to 3 of this directory, which it has not noted" in refused.output
    assert data_dir.source(one) == data_dir.source(two)

    assert likd("adopt", "--data-dir", one, "--waiting", choice).exit_code == 0
    assert likd("drain", "--data-dir", one).exit_code == 0
    assert likes(store, one) == counted
    assert (one / DAMAGED / BATCH.name(2)).exists() == (choice == "drop")


def test_kept_batch_files_of_an_adopted_directory_are_not_counted_again(
    likd: Callable[..., Result], store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKD_KEEP_BATCHES", "10")
    one = directory(tmp_path / "one", {1: 3, 2: 4})
    for arguments in (("drain",), ("adopt",), ("drain",)):
        assert likd(*arguments, "--data-dir", one).exit_code == 0
    assert likes(store, one) == 7


def test_nothing_is_done_in_a_directory_that_is_not_there(likd: Callable[..., Result], tmp_path: Path) -> None:
    for command in ("drain", "adopt"):
        done = likd(command, "--data-dir", tmp_path / "none")
        assert done.exit_code == 2
        assert not (tmp_path / "none").exists()


# --- retire


def test_a_retired_node_is_told_so_and_its_counts_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = postgres.server().database()
    monkeypatch.setenv("LIKD_ACTOR_SECRET", SECRET)
    monkeypatch.setenv("LIKD_STORE", store)

    def likd(*arguments: object) -> Result:
        return CliRunner().invoke(main, list(map(str, arguments)))

    assert "there are no nodes" in likd("retire", "1").output
    one, two = directory(tmp_path / "one", {1: 3}), directory(tmp_path / "two", {1: 40})
    for path in (one, two):
        assert likd("drain", "--data-dir", path).exit_code == 0
    assert "there is no node '7': there are 1 (" in likd("retire", "7").output
    refused = likd("retire", "1")
    assert refused.exit_code == 1
    assert "node 1 was seen 0 s ago: stop its daemon, or say --force" in refused.output
    done = likd("retire", "1", "--force")
    assert done.exit_code == 0, done.output
    assert "is retired, as of its table 1" in done.output
    assert "node 1 is retired already" in likd("retire", "1", "--force").output

    directory(one, {2: 500})
    fenced = likd("drain", "--data-dir", one)
    assert fenced.exit_code == 1
    assert "was node 1 of the store, which is retired: `likd adopt` makes it a new one" in fenced.output
    assert likes(store, two) == 43
    assert likd("adopt", "--data-dir", one).exit_code == 0
    assert likd("drain", "--data-dir", one).exit_code == 0
    assert likes(store, two) == 543


def test_an_embedded_store_has_no_nodes_to_retire(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["retire", "1", "--store", f"sqlite:///{tmp_path}/likd.db"])
    assert done.exit_code == 1
    assert "a sqlite store has no other nodes" in done.output
