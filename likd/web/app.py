"""The Quart application: the API in full."""

from __future__ import annotations

import msgspec
from quart import Response, request, websocket
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from likd.bounds import Bounds
from likd.status import StatusBoard
from likd.web.http1 import HEAD_BYTES_MAX
from likd.web.operations import Answer, EventHeaders, Operations, answer_problem
from likd.web.problem import Problem
from likd.web.session import LiveSessions

CLOSE = {"Connection": "close"}


def create_app(*, operations: Operations, status: StatusBoard, bounds: Bounds, sessions: LiveSessions) -> QuartTrio:
    """The application on the daemon's parts."""
    app = QuartTrio(__name__, static_folder=None)
    # Quart refuses at more than the limit; so does what counts the bytes of a body that has no length.
    app.config["MAX_CONTENT_LENGTH"] = operations.body_bytes_max

    @app.before_request
    async def refuse_bad_heads() -> None:
        # As the express lane does; h11 is more lenient.
        if "Content-Length" in request.headers and "Transfer-Encoding" in request.headers:
            raise Problem(400, "Content-Length and Transfer-Encoding exclude each other", headers=CLOSE)
        if sum(len(name) + len(value) for name, value in request.headers.items()) > HEAD_BYTES_MAX:
            raise Problem(431, f"the head is over {HEAD_BYTES_MAX} bytes", headers=CLOSE)

    @app.post("/v1/events")
    async def post_events() -> Response:
        headers = EventHeaders(
            request.headers.get("Content-Type", ""),
            request.headers.get("Content-Encoding", ""),
            request.headers.get("Idempotency-Key"),
        )
        submission = await operations.submit_long(await request.body, headers)
        return _respond(operations.answer(await submission.settled()))

    @app.get("/v1/counts")
    async def get_counts() -> Response:
        return _respond(await operations.counts(request.args.getlist("url")))

    @app.get("/v1/top")
    async def get_top() -> Response:
        return _respond(await operations.top(request.args.get("by", "likes"), request.args.get("limit", "10")))

    @app.get("/v1/status")
    async def get_status() -> Response:
        return _respond(Answer(200, msgspec.json.encode(status.status())))

    @app.get("/v1/tree")
    async def get_tree() -> Response:
        return _respond(Answer(200, msgspec.json.encode(status.tree())))

    @app.get("/healthz")
    async def healthz() -> Response:
        return _respond(operations.health())

    @app.get("/readyz")
    async def readyz() -> Response:
        refused = bounds.reached(count=False)
        if refused is not None:
            raise Problem(503, refused.reason, headers={"Retry-After": str(refused.retry_after)})
        return _respond(Answer(200, b'{"status":"ready"}'))

    @app.websocket("/v1/live")
    async def live() -> None:
        await sessions.serve(websocket)

    @app.errorhandler(Problem)
    async def on_problem(problem: Problem) -> Response:
        return _respond(answer_problem(problem))

    @app.errorhandler(HTTPException)
    async def on_http_exception(error: HTTPException) -> Response:
        status = error.code or 500
        if status == 413:
            return _respond(answer_problem(operations.too_large()))
        response = _respond(answer_problem(Problem(status, error.description or "")))
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    return app


def _respond(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)
