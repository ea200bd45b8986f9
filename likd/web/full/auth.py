"""Authentication in the full lane: each request is let in or refused before its view is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from quart import Response, g, request, websocket
from quart.typing import ResponseTypes
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from structlog.contextvars import bind_contextvars, clear_contextvars

from likd.web.access.addresses import valid_host
from likd.web.access.caller import Caller
from likd.web.access.credentials import Credentials
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.answers import HEAD_BYTES_MAX, SECURITY
from likd.web.full.bodies import limit_body
from likd.web.problems import Problem

LOGIN_BYTES_MAX = 4096
"""The largest body that anybody may send without a role: only a login has one."""
CLOSE = {"Connection": "close"}

V = TypeVar("V", bound=Callable[..., object])


def needs(role: Role) -> Callable[[V], V]:
    """Declare the role that a view needs; without it, a view needs ADMIN."""

    def mark(view: V) -> V:
        view.needs = role  # type: ignore[attr-defined]
        return view

    return mark


def for_any_page(view: V) -> V:
    """Declare that a view is for pages of all origins, like everything that they load by plain tags."""
    view.for_any_page = True  # type: ignore[attr-defined]
    return needs(Role.NOBODY)(view)


def caller() -> Caller:
    """The caller of the current request."""
    who: Caller = g.caller
    return who


def add_auth(app: QuartTrio, gate: Gate, *, body_limit: Callable[[Caller], int], tls: bool) -> None:
    """Put `gate` before all views of `app`."""

    def let_in(asked: BaseRequestWebsocket) -> Role:
        view = app.view_functions.get(asked.endpoint or "")
        # That a path does not exist is no secret.
        role = Role.NOBODY if view is None else getattr(view, "needs", Role.ADMIN)
        if getattr(view, "for_any_page", False):
            g.caller = Caller(Role.NOBODY)
        else:
            g.caller = gate.admit(asked.remote_addr or "", credentials(asked), role)
        clear_contextvars()
        if role is Role.ADMIN:
            # Log lines of what is done for an admin name that admin.
            bind_contextvars(by=gate.called(g.caller))
        return role

    @app.before_request
    async def before_request() -> Response | None:
        if request.method == "OPTIONS" and request.scope["path"] == "*":
            return Response(b"", 204)
        _check_head(request)
        if "Content-Length" in request.headers and "Transfer-Encoding" in request.headers:
            raise Problem(400, "Content-Length and Transfer-Encoding exclude each other", headers=CLOSE)
        if request.method == "OPTIONS" and request.url_rule is not None:
            headers = gate.cross_origin(credentials(request), preflight=True)
            headers["Allow"] = ", ".join(sorted(request.url_rule.methods or ()))
            # Quart never ends an answer without any body, so the connection could not continue.
            return Response(b"", 204, headers)
        needed = let_in(request)
        limit_body(LOGIN_BYTES_MAX if needed is Role.NOBODY else body_limit(caller()))
        return None

    @app.before_websocket
    async def before_websocket() -> None:
        _check_head(websocket)
        let_in(websocket)

    @app.after_request
    async def after_request(response: Response) -> Response:
        return _add_headers(response, tls=tls)

    @app.after_websocket
    async def after_websocket(response: ResponseTypes | None) -> ResponseTypes | None:
        return _add_headers(response, tls=tls) if isinstance(response, Response) else response


def _check_head(asked: BaseRequestWebsocket) -> None:
    """Raise Problem for a head that no view should see."""
    # As the express lane does; h11 is more lenient.
    hosts = asked.headers.getlist("Host")
    if len(set(hosts)) > 1 or (hosts and not valid_host(hosts[0]) and (hosts[0] or asked.http_version >= "1.1")):
        raise Problem(400, "the Host header is not a host", headers=CLOSE, members={"field": "Host"})
    size = sum(len(name) + len(value) for name, value in asked.headers.items()) + len(asked.query_string)
    if size > HEAD_BYTES_MAX:
        raise Problem(431, f"the head is longer than {HEAD_BYTES_MAX} bytes", headers=CLOSE)
    path: str = asked.scope["path"]
    if path.startswith("//"):
        # To anything that guards paths, it would be another name of the path that follows.
        raise Problem(404, "there is no such path")


def _add_headers(response: Response, *, tls: bool) -> Response:
    told: dict[str, str] = {**SECURITY, **(g.caller.headers if "caller" in g else {})}
    for name, value in told.items():
        response.headers.setdefault(name, value)
    if tls:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if response.status_code in (204, 304):
        # It would be the length of the body that is not sent (RFC 9110, 8.6).
        response.headers.pop("Content-Length", None)
    return response


def credentials(asked: BaseRequestWebsocket) -> Credentials:
    """What the headers say about the caller."""
    headers = asked.headers

    def header(name: str) -> str:
        # Each proxy may have added a header of its own.
        return ",".join(headers.getlist(name)) if name == "X-Forwarded-For" else headers.get(name, "")

    return Credentials.of(header, asked.query_string)
