"""The Quart application: API, pages, and error answers."""

from __future__ import annotations

from collections.abc import Callable

from quart import Response, has_request_context, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from likd.web.access.caller import Caller
from likd.web.access.gate import Gate
from likd.web.answers import answer_problem, is_person
from likd.web.full.auth import add_auth
from likd.web.full.pages.render import Pages
from likd.web.full.routes import header, respond
from likd.web.problems import Problem


def create_app(*, gate: Gate, body_limit: Callable[[Caller], int], pages: Pages, tls: bool) -> QuartTrio:
    """The application with authentication and error handling, but no views yet."""
    # The package that contains the templates.
    app = QuartTrio("likd.web", static_folder=None)
    # Each path has one name: werkzeug would redirect from others, to whatever host the request names.
    app.url_map.merge_slashes = False
    # Bodies are bounded before they get here.
    app.config["MAX_CONTENT_LENGTH"] = None
    # So is their time; and an answer is sent at its reader's pace, as long as that reads any of it.
    app.config["BODY_TIMEOUT"] = None
    app.config["RESPONSE_TIMEOUT"] = None
    add_auth(app, gate, body_limit=body_limit, tls=tls)

    @app.errorhandler(Problem)
    async def on_problem(problem: Problem) -> Response:
        if not has_request_context() or not is_person(request.method, header("Accept")):
            return respond(answer_problem(problem))
        if problem.status == 401 and gate.has_login:
            return pages.to_login()
        return await pages.problem(problem)

    @app.errorhandler(HTTPException)
    async def on_http_exception(error: HTTPException) -> Response:
        status = error.code or 500
        response = await on_problem(Problem(status, error.description or ""))
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    return app
