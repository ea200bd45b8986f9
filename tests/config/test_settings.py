"""Settings: flags over environment over file over defaults; a wrong one is one line that says what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from likd.config.parsers import Bind, UnixBind, in_words
from likd.config.settings import GROUPS, Config, ConfigError, load, settings, unknown_variables


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str | bytes) -> Path:
    path = Path("mine.toml")
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


BIND_EXPECTED = "HOST:PORT or unix:PATH, for example 127.0.0.1:8080, [::1]:8080 or unix:/run/likd.sock"


def wrong(
    flags: dict[str, object] | None = None, *, file: Path | None = None, environment: dict[str, str] | None = None
) -> str:
    """The message, which is a single line."""
    with pytest.raises(ConfigError) as caught:
        load(flags or {}, file=file, environment=environment or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_settings_there_are_the_defaults() -> None:
    config = load({}, file=None, environment={})
    assert config == Config()
    assert (config.bind, config.data_dir, config.durability, config.table_limit) == (
        (Bind("127.0.0.1", 8080),),
        Path("data"),
        "fsync",
        2000,
    )


def test_flags_go_before_environment_before_file_before_defaults() -> None:
    file = written("table_limit = 3\npool_size = 3\nkeys_max = 3")
    environment = {"LIKD_TABLE_LIMIT": "2", "LIKD_POOL_SIZE": "2"}
    config = load({"table_limit": 1}, file=file, environment=environment)
    assert (config.table_limit, config.pool_size, config.keys_max) == (1, 2, 3)
    assert config.counters_max == Config().counters_max


def test_likd_toml_in_the_working_directory_is_read_if_there() -> None:
    Path("likd.toml").write_text("table_limit = 7")
    assert load({}, file=None, environment={}).table_limit == 7
    assert load({}, file=written("table_limit = 8"), environment={}).table_limit == 8


def test_a_flag_that_was_not_given_is_none_and_does_not_count() -> None:
    assert load({"table_limit": None}, file=written("table_limit = 7"), environment={}).table_limit == 7


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)
def test_every_setting_has_a_flag_a_variable_and_a_help_text(setting) -> None:  # type: ignore[no-untyped-def]
    assert re.fullmatch(r"--[a-z]+(-[a-z]+)*", setting.flag)
    assert re.fullmatch(r"LIKD_[A-Z]+(_[A-Z]+)*", setting.variable)
    assert setting.help.endswith(".")
    default = setting.parse(setting.default)
    assert default == getattr(Config(), setting.name)
    config = load({}, file=None, environment={setting.variable: str(setting.default)})
    assert getattr(config, setting.name) == default


def test_settings_are_all_fields_of_the_config() -> None:
    assert sorted(setting.name for setting in settings()) == sorted(field.name for field in attrs.fields(Config))


def test_numbers_may_be_written_as_text_and_whole_ones_as_seconds() -> None:
    config = load({"flush_interval": "0.5"}, file=written("hung_timeout = 2"), environment={"LIKD_TABLE_LIMIT": "10"})
    assert (config.flush_interval, config.hung_timeout, config.table_limit) == (0.5, 2.0, 10)


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/mine")
    assert load({"data_dir": "~/likd"}, file=None, environment={}).data_dir == Path("/home/mine/likd")


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080"),
        ("localhost:0", "localhost", 0, "localhost:0"),
        ("[::1]:65535", "::1", 65535, "[::1]:65535"),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int, shown: str) -> None:
    (bind,) = load({"bind": text}, file=None, environment={}).bind
    assert isinstance(bind, Bind)
    assert (bind.host, bind.port, str(bind)) == (host, port, shown)


@pytest.mark.parametrize("text", ["", "8080", ":8080", "host", "host:", "host:x", "host:65536", "host:-1", "::1:8080"])
def test_anything_else_is_no_address(text: str) -> None:
    assert wrong({"bind": text}) == f"--bind: {text!r} is not {BIND_EXPECTED}"


def test_there_can_be_several_addresses_and_sockets() -> None:
    binds = load({"bind": "127.0.0.1:8080, unix:/run/likd.sock"}, file=None, environment={}).bind
    assert binds == (Bind("127.0.0.1", 8080), UnixBind(Path("/run/likd.sock")))
    assert in_words(binds) == "127.0.0.1:8080, unix:/run/likd.sock"


@pytest.mark.parametrize("text", ["unix:", "unix:/" + "x" * 107, "unix:/a\0b"])
def test_a_socket_has_a_path_that_fits_into_an_address(text: str) -> None:
    assert wrong({"bind": text}) == f"--bind: {text!r} is not unix:PATH with a path of at most 107 bytes"


@pytest.mark.parametrize(("text", "mode"), [("0660", 0o660), ("600", 0o600), ("0777", 0o777)])
def test_permissions_are_octal(text: str, mode: int) -> None:
    assert load({"socket_mode": text}, file=None, environment={}).socket_mode == mode


@pytest.mark.parametrize("value", ["", "8", "888", "01777", "rw-", 660])
def test_anything_else_is_no_permission(value: object) -> None:
    assert "permissions in octal digits" in wrong({"socket_mode": value})


@pytest.mark.parametrize(
    ("text", "base"), [("", ""), ("/", ""), ("/likes", "/likes"), ("/likes/", "/likes"), ("/a/b-2.x", "/a/b-2.x")]
)
def test_a_base_path_has_no_slash_at_its_end(text: str, base: str) -> None:
    assert load({"base_path": text}, file=None, environment={}).base_path == base


@pytest.mark.parametrize(
    "text", ["likes", "/a//b", "//a", "/..", "/a/../b", "/a b", "/a?b", "/ä", "https://a.example/"]
)
def test_anything_else_is_no_base_path(text: str) -> None:
    assert wrong({"base_path": text}) == f"--base-path: {text!r} is not a path, for example /likes"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"table_limit": "0"}, "--table-limit: '0' is not a whole number from 1 to 1000000"),
        ({"table_limit": "1000001"}, "--table-limit: '1000001' is not a whole number from 1 to 1000000"),
        ({"table_limit": "1.5"}, "--table-limit: '1.5' is not a whole number from 1 to 1000000"),
        ({"table_limit": "many"}, "--table-limit: 'many' is not a whole number from 1 to 1000000"),
        ({"table_limit": ""}, "--table-limit: '' is not a whole number from 1 to 1000000"),
        (
            {"flush_interval": "0"},
            "--flush-interval: '0' is not a number from 0.01 to 3600, or one with a unit, for example 5s or 2h",
        ),
        (
            {"flush_interval": "nan"},
            "--flush-interval: 'nan' is not a number from 0.01 to 3600, or one with a unit, for example 5s or 2h",
        ),
        (
            {"flush_interval": "inf"},
            "--flush-interval: 'inf' is not a number from 0.01 to 3600, or one with a unit, for example 5s or 2h",
        ),
        ({"durability": "maybe"}, "--durability: 'maybe' is not one of fsync, os, none"),
        ({"log_format": "xml"}, "--log-format: 'xml' is not one of auto, console, json"),
        ({"data_dir": ""}, "--data-dir: '' is not a path"),
        ({"data_dir": "~nobody-of-that-name/data"}, "--data-dir: '~nobody-of-that-name/data' is not a path"),
    ],
)
def test_a_wrong_flag_is_named_with_its_value_and_what_was_expected(flags: dict[str, object], message: str) -> None:
    assert wrong(flags) == message


def test_a_wrong_variable_is_named() -> None:
    assert wrong(environment={"LIKD_KEYS_MAX": "x"}).startswith("LIKD_KEYS_MAX: 'x' is not a whole number from 1 to")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("table_limit = 0", "mine.toml: table_limit: 0 is not a whole number from 1 to 1000000"),
        ("table_limit = 1.0", "mine.toml: table_limit: 1.0 is not a whole number from 1 to 1000000"),
        ("table_limit = true", "mine.toml: table_limit: True is not a whole number from 1 to 1000000"),
        ("table_limit = [1]", "mine.toml: table_limit: [1] is not a whole number from 1 to 1000000"),
        ("durability = 1", "mine.toml: durability: 1 is not one of fsync, os, none"),
        ("durability = {}", "mine.toml: durability: {} is not one of fsync, os, none"),
        ("data_dir = 5", "mine.toml: data_dir: 5 is not a path"),
        (
            "bind = 8080",
            f"mine.toml: bind: 8080 is not {BIND_EXPECTED}",
        ),
        ("table_limits = 5", "mine.toml: there is no setting 'table_limits': did you mean table_limit?"),
        ("[likd]\ntable_limit = 5", "mine.toml: there is no setting 'likd'"),
    ],
)
def test_a_wrong_line_in_the_file_is_named(text: str, message: str) -> None:
    assert wrong(file=written(text)) == message


@pytest.mark.parametrize("text", [b"table_limit = ", b"\xff\xfe", b"a = 1\na = 2", b"a = " + b"9" * 5000, b"a = '\0'"])
def test_a_file_that_is_no_toml_is_named(text: bytes) -> None:
    assert wrong(file=written(text)).startswith("mine.toml: ")


def test_a_number_beyond_all_bounds_is_only_too_large() -> None:
    message = wrong(file=written("flush_interval = " + "9" * 400))
    assert message.endswith("is not a number from 0.01 to 3600, or one with a unit, for example 5s or 2h")


def test_what_a_flag_overrides_is_not_looked_at() -> None:
    assert load({"table_limit": 5}, file=written("table_limit = 0"), environment={}).table_limit == 5


def test_a_file_that_was_asked_for_must_be_there() -> None:
    assert wrong(file=Path("gone.toml")) == "gone.toml: there is no such file"
    Path("folder").mkdir()
    assert wrong(file=Path("folder")).startswith("folder: ")


@pytest.mark.parametrize(
    ("name", "value", "means"),
    [
        ("flush_interval", "500ms", 0.5),
        ("flush_interval", "5s", 5),
        ("flush_interval", " 0.5 m ", 30),
        ("keys_window", "2d", 172_800),
        ("keep_minutes", "2d", 48),
        ("keep_days", "240h", 10),
        ("body_bytes_max", "64MiB", 64 << 20),
        ("body_bytes_max", "64 MB", 64_000_000),
        ("disk_free_min", "1.5G", 1_500_000_000),
        ("store_cache", "1GiB", 1024),
    ],
)
def test_times_and_sizes_may_have_a_unit(name: str, value: str, means: float) -> None:
    assert getattr(load({name: value}, file=None, environment={}), name) == means
    assert getattr(load({}, file=written(f"{name} = {value!r}"), environment={}), name) == means


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flush_interval", "5x"),
        ("flush_interval", "5MB"),
        ("flush_interval", "2h"),
        ("flush_interval", "-1s"),
        ("keep_minutes", "90m"),
        ("body_bytes_max", "5s"),
        ("body_bytes_max", "0.3B"),
        ("body_bytes_max", "9TB"),
    ],
)
def test_a_unit_that_does_not_fit_is_refused(name: str, value: str) -> None:
    assert "or one with a unit, for example" in wrong({name: value})


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    assert wrong(file=written("tabel_limit = 1")).endswith("'tabel_limit': did you mean table_limit?")
    assert wrong(file=written("zzz = 1")).endswith("there is no setting 'zzz'")


def test_variables_that_are_no_settings_are_told() -> None:
    environment = {"LIKD_POOL_SIEZ": "1", "LIKD_ZZZ": "1", "LIKD_POOL_SIZE": "1", "LIKD_TOKEN": "x", "PATH": "/"}
    assert unknown_variables(environment) == [
        "there is no setting LIKD_POOL_SIEZ: did you mean LIKD_POOL_SIZE?",
        "there is no setting LIKD_ZZZ",
    ]


def test_each_setting_is_explained_in_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(each.name for each in settings())


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "likd.toml"
    file.write_text('table_limit = 1\nflush_interval = 2\nbind = "127.0.0.1:1"\n')

    config = load(
        {"table_limit": "3"},
        file=file,
        environment={"LIKD_TABLE_LIMIT": "2", "LIKD_FLUSH_INTERVAL": "4"},
    )

    assert (config.table_limit, config.flush_interval, config.bind) == (3, 4.0, (Bind("127.0.0.1", 1),))


@pytest.mark.parametrize(
    ("flags", "environment", "toml", "message"),
    [
        ({"table_limit": "0"}, {}, "", "--table-limit: '0' is not a whole number from 1 to 1000000"),
        ({"table_limit": "x"}, {}, "", "--table-limit: 'x' is not a whole number"),
        ({"bind": "x"}, {}, "", "--bind: 'x' is not HOST:PORT"),
        ({"durability": "maybe"}, {}, "", "--durability: 'maybe' is not one of fsync, os, none"),
        ({}, {"LIKD_POOL_SIZE": "-1"}, "", "LIKD_POOL_SIZE: '-1' is not"),
        ({}, {}, "pool_size = true", "pool_size: True is not a whole number"),
        ({}, {}, "no_such = 1", "there is no setting 'no_such'"),
        ({}, {}, "= broken", "Invalid statement"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, flags: dict[str, str], environment: dict[str, str], toml: str, message: str
) -> None:
    file = tmp_path / "likd.toml"
    file.write_text(toml)

    with pytest.raises(ConfigError) as wrong:
        load(flags, file=file, environment=environment)

    assert message in str(wrong.value)
