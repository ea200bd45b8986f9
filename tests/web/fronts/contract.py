"""The contract of the lanes, for daemons with fronts: the same tests, on a connection that a front accepted."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any


def contract_of(*modules: ModuleType) -> dict[str, Any]:
    """Those tests of `modules` that only need a daemon or a client, by names that tell where they are from."""
    return {
        f"{name}_{module.__name__.rpartition('.')[2].removeprefix('test_')}": test
        for module in modules
        for name, test in vars(module).items()
        if name.startswith("test_") and {"daemon", "client"} & set(inspect.signature(test).parameters)
    }
