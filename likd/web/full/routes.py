"""The whole API, as views of the Quart application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio
from quart import Response, request, websocket
from quart_trio import QuartTrio

from likd.counting.backpressure import Bounds
from likd.errors import StoreError
from likd.ingest.schema import short
from likd.runtime.watchdog import Watchdog
from likd.status import StatusReport
from likd.web.access.connection_limit import ConnectionLimit
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.access.visitors import Visitors
from likd.web.answers import HEALTHY, Answer, EventHeaders, conditional
from likd.web.api.admin import Admin
from likd.web.api.counts import CountReads
from likd.web.api.events import Posting
from likd.web.api.histories import HistoryRequest
from likd.web.api.live_socket import LiveSessions
from likd.web.api.page_lists import PageLists, PagesRequest
from likd.web.api.pictures import PictureRequest, Pictures
from likd.web.api.reads import Reads, TopRequest
from likd.web.api.shares import ShareLinks
from likd.web.api.sites import SiteLists, SitesRequest
from likd.web.full.auth import caller, credentials, needs
from likd.web.full.bodies import read_body
from likd.web.full.stream import stream_of
from likd.web.problems import Problem, store_away
from likd.web.query_string import query_value, query_values

if TYPE_CHECKING:
    from likd.web.full.metrics import Metrics

log = structlog.get_logger(__name__)


def respond(answer: Answer) -> Response:
    """An answer as Quart's response."""
    return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)


def asked(name: str, default: str = "") -> str:
    """A parameter of the query."""
    return query_value(request.query_string, name, default)


def header(name: str) -> str:
    """A header of the request, "" if there is none."""
    return request.headers.get(name, "")


def flag(name: str) -> bool:
    """A parameter of the query that is true or false; false if it is missing. Raises Problem."""
    value = asked(name, "false")
    if value not in ("true", "false"):
        raise Problem(422, f"{name} is {short(value)}", members={"field": name, "expected": "true or false"})
    return value == "true"


def add_api(
    app: QuartTrio,
    *,
    posting: Posting,
    counts: CountReads,
    reads: Reads,
    pictures: Pictures,
    sites: SiteLists,
    lists: PageLists,
    admin: Admin,
    shares: ShareLinks,
    status: StatusReport,
    bounds: Bounds,
    sessions: LiveSessions,
) -> None:
    """Add everything under /v1, /healthz and /readyz, and the pictures."""
    _add_events(app, posting)
    _add_reads(app, counts, reads)
    _add_sites(app, sites, lists)
    _add_pictures(app, pictures)
    _add_admin(app, admin, status)
    _add_management(app, admin)
    _add_shares(app, shares)
    _add_health(app, bounds, status)

    @app.websocket("/v1/live")
    @needs(Role.PUBLIC)
    async def live() -> None:
        await sessions.serve(websocket, caller(), ask=stream_of(websocket.scope).ask)


def _add_events(app: QuartTrio, posting: Posting) -> None:
    @app.post("/v1/events")
    @needs(Role.PUBLIC)
    async def post_events() -> Response:
        headers = EventHeaders(
            request.headers.get("Content-Type", ""),
            request.headers.get("Content-Encoding", ""),
            request.headers.get("Idempotency-Key"),
        )
        submission = await posting.submit_long(await read_body(), headers, caller())
        return respond(posting.answer(await submission.settled(), submission.ignored))


def _add_reads(app: QuartTrio, counts: CountReads, reads: Reads) -> None:
    @app.get("/v1/counts")
    @needs(Role.PUBLIC)
    async def get_counts() -> Response:
        partial = flag("partial")
        answer = await counts.counts(query_values(request.query_string, "url"), caller(), partial=partial)
        return respond(conditional(answer, header("If-None-Match")))

    @app.get("/v1/history")
    @needs(Role.PUBLIC)
    async def get_history() -> Response:
        return respond(await reads.history(HistoryRequest.of(request.query_string, header("If-None-Match")), caller()))

    @app.get("/v1/top")
    @needs(Role.WRITER)
    async def get_top() -> Response:
        return respond(await reads.top(TopRequest.of(request.query_string, header("If-None-Match")), caller()))

    @app.get("/v1/export")
    @needs(Role.WRITER)
    async def get_export() -> Response:
        exported = reads.export()
        try:
            # The status says what keeps it from beginning.
            first = await anext(exported, b"")
        except StoreError as error:
            raise store_away(error) from None

        async def lines() -> AsyncIterator[bytes]:
            try:
                yield first
                async for some in exported:
                    yield some
            except StoreError as error:
                # The answer has begun: all that is left is not to end it as if it were complete.
                log.error("export failed", fault=str(error))
                raise

        return Response(lines(), content_type="application/x-ndjson")


def _add_sites(app: QuartTrio, sites: SiteLists, lists: PageLists) -> None:
    @app.get("/v1/sites")
    @needs(Role.PUBLIC)
    async def get_sites() -> Response:
        return respond(await sites.sites(SitesRequest.of(request.query_string, header("If-None-Match")), caller()))

    @app.get("/v1/pages")
    @needs(Role.PUBLIC)
    async def get_pages() -> Response:
        return respond(await lists.pages(PagesRequest.of(request.query_string, header("If-None-Match")), caller()))


def _add_pictures(app: QuartTrio, pictures: Pictures) -> None:
    def picture() -> PictureRequest:
        return PictureRequest.of(request.method, request.query_string, header, credentials(request))

    @app.get("/badge.svg")
    @needs(Role.PUBLIC)
    async def get_badge() -> Response:
        return respond(await pictures.badge(picture(), caller()))

    @app.get("/pixel.gif")
    @needs(Role.PUBLIC)
    async def get_pixel() -> Response:
        seen = pictures.see(picture(), caller())
        return respond(pictures.pixel(await seen.settled() if seen is not None else None))


def _add_admin(app: QuartTrio, admin: Admin, status: StatusReport) -> None:
    @app.get("/v1/status")
    @needs(Role.ADMIN)
    async def get_status() -> Response:
        return respond(Answer(200, msgspec.json.encode(status.status())))

    @app.get("/v1/tree")
    @needs(Role.ADMIN)
    async def get_tree() -> Response:
        return respond(Answer(200, msgspec.json.encode(status.tree())))

    @app.post("/v1/import")
    @needs(Role.ADMIN)
    async def post_import() -> Response:
        dry_run = asked("dry_run", "false") == "true"
        return respond(await admin.load(await read_body(), request.headers.get("Idempotency-Key"), dry_run=dry_run))


def _add_management(app: QuartTrio, admin: Admin) -> None:
    @app.post("/v1/merge")
    @needs(Role.ADMIN)
    async def post_merge() -> Response:
        dry_run = asked("dry_run", "false") in ("true", "1")
        return respond(await admin.merge(await read_body(), dry_run=dry_run))

    @app.delete("/v1/counts")
    @needs(Role.ADMIN)
    async def delete_counts() -> Response:
        key = request.headers.get("Idempotency-Key")
        return respond(await admin.erase(asked("url"), asked("site"), caller(), key, keep=False))

    @app.post("/v1/reset")
    @needs(Role.ADMIN)
    async def post_reset() -> Response:
        return respond(await admin.reset(await read_body(), caller(), request.headers.get("Idempotency-Key")))

    @app.get("/v1/aliases")
    @needs(Role.ADMIN)
    async def get_aliases() -> Response:
        answer = admin.aliases(asked("url"), asked("limit", "100"), asked("after"))
        return respond(conditional(answer, header("If-None-Match")))

    @app.post("/v1/aliases")
    @needs(Role.ADMIN)
    async def post_alias() -> Response:
        return respond(await admin.merge(await read_body()))

    @app.delete("/v1/aliases")
    @needs(Role.ADMIN)
    async def delete_alias() -> Response:
        return respond(await admin.remove_alias(asked("old")))


def _add_shares(app: QuartTrio, shares: ShareLinks) -> None:
    @app.post("/v1/shares")
    @needs(Role.ADMIN)
    async def post_share() -> Response:
        return respond(await shares.make(await read_body(), caller()))

    @app.get("/v1/shares")
    @needs(Role.ADMIN)
    async def get_shares() -> Response:
        return respond(conditional(shares.all(), header("If-None-Match")))

    @app.delete("/v1/shares")
    @needs(Role.ADMIN)
    async def delete_share() -> Response:
        return respond(await shares.revoke(asked("id")))


def _add_health(app: QuartTrio, bounds: Bounds, status: StatusReport) -> None:
    @app.get("/healthz")
    @needs(Role.NOBODY)
    async def healthz() -> Response:
        return respond(HEALTHY)

    @app.get("/readyz")
    @needs(Role.NOBODY)
    async def readyz() -> Response:
        refused = bounds.reached(count=False)
        if refused is not None:
            raise Problem(503, refused.reason, headers={"Retry-After": str(refused.retry_after)})
        fault = status.statistics().drainer.fault
        return respond(Answer(200, msgspec.json.encode({"status": "ready", "store": "failing" if fault else "ok"})))


def add_metrics(
    app: QuartTrio,
    board: StatusReport,
    gate: Gate,
    visitors: Visitors,
    connections: ConnectionLimit,
    request_faults: Callable[[], int],
    watchdog: Watchdog,
) -> None:
    """Add /metrics."""

    @cache
    def source() -> Metrics:
        # Imported on demand, so that a start need not wait for it.
        from likd.web.full.metrics import Metrics

        return Metrics(board, gate, visitors, connections, request_faults, watchdog)

    @app.get("/metrics")
    @needs(Role.ADMIN)
    async def get_metrics() -> Response:
        metrics = await trio.to_thread.run_sync(source)
        return Response(metrics.text(), content_type="text/plain; version=0.0.4; charset=utf-8")
