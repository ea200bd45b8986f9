"""POST /v1/fault, for tests only: see likd.testing.faults."""

from __future__ import annotations

import errno
import time

import msgspec
from quart import Response, request
from quart_trio import QuartTrio

from likd.runtime.supervisor import Supervisor
from likd.testing.faults import Faults
from likd.web.problems import Problem


class _Crash(msgspec.Struct, tag_field="fault", tag="crash", forbid_unknown_fields=True):
    child: str


class _Hang(msgspec.Struct, tag_field="fault", tag="hang", forbid_unknown_fields=True):
    counters: int = 1


class _Store(msgspec.Struct, tag_field="fault", tag="store", forbid_unknown_fields=True):
    seconds: float


class _Disk(msgspec.Struct, tag_field="fault", tag="disk", forbid_unknown_fields=True):
    error: str
    times: int = 1


class _Block(msgspec.Struct, tag_field="fault", tag="block", forbid_unknown_fields=True):
    seconds: float


_decode = msgspec.json.Decoder(_Crash | _Hang | _Store | _Disk | _Block).decode


def add_fault_point(app: QuartTrio, faults: Faults, root: Supervisor) -> None:
    """Add the endpoint that makes the daemon fail to `app`."""

    @app.post("/v1/fault")
    async def post_fault() -> Response:
        try:
            order = _decode(await request.data)
        except msgspec.DecodeError as error:
            raise Problem(422, str(error)) from None
        match order:
            case _Crash(child):
                found = next((one for one in root.children if one.name == child), None)
                if found is None:
                    expected = f"one of {', '.join(one.name for one in root.children)}"
                    raise Problem(422, f"child is {child!r}", members={"field": "child", "expected": expected})
                found.crash("as was asked for")
            case _Hang(counters):
                faults.hangs = counters
            case _Store(seconds):
                faults.store_away_until = time.monotonic() + seconds
            case _Disk(name, times):
                faults.disk_error = getattr(errno, name, errno.EIO)
                faults.disk_errors = times
            case _Block(seconds):
                time.sleep(seconds)  # noqa: ASYNC251 - to block the loop is the point
        return Response(b"{}", 202, content_type="application/json")
