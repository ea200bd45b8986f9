"""Settings: from flags, environment and likd.toml, validated, each with its unit."""

from __future__ import annotations

import os
import tomllib
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from likd.config.engine_settings import (
    CountedSettings,
    CountingSettings,
    EngineSettings,
    LimitSettings,
    LiveSettings,
    StoreSettings,
)
from likd.config.setting import PREFIX, Setting
from likd.config.web_settings import AccessSettings, ConnectionSettings, GateSettings, PlaceSettings
from likd.errors import LikdError

CONFIG_FILE = "likd.toml"
OTHER_VARIABLES = frozenset(
    {
        f"{PREFIX}{name}"
        for name in (
            "ADMIN_TOKEN",
            "WRITE_TOKENS",
            "ACTOR_SECRET",
            "REDIS_PASSWORD",
            "REDIS_PASSWORD_FILE",
            "CONFIG",
            "URL",
            "TOKEN",
            "TEST_FAULTS",
            "TEST_REDIS",
        )
    }
)
"""Variables that likd reads although they are not settings of the daemon."""


class ConfigError(LikdError, ValueError):
    """A setting is invalid; the message names it, its source and what was expected."""


@attrs.frozen(kw_only=True, slots=False)
class Config(GateSettings, ConnectionSettings, EngineSettings):
    """All settings of the daemon."""


def _grouped(*groups: type[Any]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for group in groups:
        found[group.TITLE] = (*found.get(group.TITLE, ()), *(field.name for field in attrs.fields(group)))
    return MappingProxyType(found)


GROUPS = _grouped(
    PlaceSettings,
    AccessSettings,
    CountedSettings,
    CountingSettings,
    StoreSettings,
    ConnectionSettings,
    LiveSettings,
    LimitSettings,
)
"""The settings in the groups in which the help explains them."""


def settings() -> list[Setting]:
    """All settings, in the order in which they are declared."""
    return [
        Setting(
            field.name,
            field.metadata["parse"],
            field.metadata["default"],
            field.metadata["unit"],
            field.metadata["help"],
            field.metadata["choices"],
        )
        for field in (getattr(attrs.fields(Config), name) for names in GROUPS.values() for name in names)
    ]


def load(flags: Mapping[str, object], *, file: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """The settings: each from the first of `flags`, `environment`, the TOML `file` and the defaults that has it.

    Without a `file`, likd.toml in the working directory is read if it is there. Raises ConfigError.
    """
    path = file if file is not None else Path(CONFIG_FILE)
    written = _read_file(path, must_exist=file is not None)
    chosen: dict[str, Any] = {}
    for setting in settings():
        for value, source in (
            (flags.get(setting.name), setting.flag),
            (environment.get(setting.variable), setting.variable),
            (written.pop(setting.name, None), f"{path}: {setting.name}"),
        ):
            if value is None or setting.name in chosen:
                continue
            try:
                chosen[setting.name] = setting.parse(value)
            except ValueError as error:
                raise ConfigError(f"{source}: {value!r} is not {error}") from None
    if written:
        name = next(iter(written))
        raise ConfigError(f"{path}: there is no setting {name!r}{_suggest(name, [each.name for each in settings()])}")
    return Config(**chosen)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A warning for each environment variable that looks like a setting but is not one."""
    known = [setting.variable for setting in settings()]
    return [
        f"there is no setting {name}{_suggest(name, known)}"
        for name in sorted(environment)
        if name.startswith(PREFIX) and name not in known and name not in OTHER_VARIABLES
    ]


def _suggest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f": did you mean {close[0]}?" if close else ""


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().removeprefix(BOM_UTF8).decode())
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: there is no such file") from None
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
