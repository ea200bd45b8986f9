"""Composes the web on an engine: gate, operations, views, pages, and the server before them."""

from __future__ import annotations

from likd import __version__
from likd.config.settings import Config
from likd.engine import Engine
from likd.queries.unapplied import Unapplied
from likd.runtime.watchdog import Watchdog
from likd.status import StatusReport
from likd.testing.faults import Faults
from likd.web.access.addresses import Proxies
from likd.web.access.body_budget import BodyBudget
from likd.web.access.connection_limit import ConnectionLimit
from likd.web.access.gate import Gate
from likd.web.access.refusals import Refusals
from likd.web.access.sessions import FILE as LOGINS
from likd.web.access.sessions import Logins
from likd.web.access.tokens import Tokens
from likd.web.access.visitors import Visitors
from likd.web.api.admin import Admin
from likd.web.api.events import Operations
from likd.web.api.files import Files
from likd.web.api.histories import Histories, KeptFor
from likd.web.api.live_socket import LiveSessions
from likd.web.api.pictures import Pictures
from likd.web.api.reads import Reads
from likd.web.api.sites import SiteLists
from likd.web.express.hot_reads import HotReads
from likd.web.full.app import create_app
from likd.web.full.fault_endpoint import add_fault_point
from likd.web.full.pages import Pages, add_files, add_pages
from likd.web.full.routes import add_api, add_metrics
from likd.web.listeners import open_listeners
from likd.web.server import WebServer
from likd.web.tls import server_context


async def compose_web(
    config: Config,
    engine: Engine,
    *,
    tokens: Tokens,
    watchdog: Watchdog,
    connections_max: int,
    faults: Faults | None,
) -> WebServer:
    """The web server of a daemon, listening, yet to be run. Raises BindError, ConfigError.

    With `faults` there is a way to make the daemon fail.
    """
    refusals = Refusals()
    logins = Logins(tokens.admin[0], config.data_dir / LOGINS) if tokens.admin else None
    gate = Gate(config, tokens, logins=logins, refusals=refusals)
    tls = server_context(config)
    visitors = Visitors(config.public_actors, config.ignore_bots, engine.actor_keys.visitor)
    operations = Operations(
        intake=engine.intake,
        handlers=engine.handlers,
        totals=engine.totals,
        actors=engine.actors,
        top=engine.top,
        gate=gate,
        visitors=visitors,
        canonical=engine.rules,
        actor_key=engine.actor_keys,
        body_bytes_max=config.body_bytes_max,
        bodies_bytes_max=config.bodies_bytes_max,
        urls_max=config.counters_max,
    )
    board = StatusReport(engine, __version__)
    sessions = LiveSessions(
        hub=engine.hub,
        operations=operations,
        gate=gate,
        status=lambda: {"status": board.status(), "tree": board.tree()},
        interval_seconds=config.live_interval,
        watches_max=config.watches_max,
    )
    files = Files()
    pages = Pages(files=files, gate=gate)
    app = create_app(operations=operations, gate=gate, pages=pages, tls=tls is not None)
    unapplied = Unapplied(engine.totals, engine.wall_clock)
    kept_for = KeptFor(config.keep_minutes, config.keep_hours)
    histories = Histories(operations, engine.totals, engine.store, unapplied, kept_for, engine.wall_clock)
    reads = Reads(operations, engine.totals, engine.store, histories)
    lists = SiteLists(operations, engine.totals, engine.store, unapplied, kept_for, engine.wall_clock)
    pictures = Pictures(operations, engine.totals, gate)
    admin = Admin(operations, engine.merger, engine.totals, engine.store, engine.rules, engine.handlers.counts)
    add_api(
        app,
        operations=operations,
        reads=reads,
        sites=lists,
        pictures=pictures,
        admin=admin,
        status=board,
        bounds=engine.bounds,
        sessions=sessions,
    )
    add_pages(
        app, pages, gate=gate, operations=operations, reads=reads, lists=lists, admin=admin, status=board, files=files
    )
    add_files(app, files)
    if faults is not None:
        add_fault_point(app, faults, engine.root)
    web = WebServer(
        operations=operations,
        reads=HotReads(operations, reads, pictures, files),
        gate=gate,
        app=app,
        listeners=await open_listeners(config.bind),
        tls=tls,
        hub=engine.hub,
        sessions=sessions,
        seats=ConnectionLimit(
            connections_max, config.connections_per_address, Proxies(config.trusted_proxies), refusals
        ),
        room=BodyBudget(config.bodies_bytes_max),
        head_seconds=config.head_timeout,
        idle_seconds=config.idle_timeout,
        grace_seconds=config.shutdown_timeout / 2,
    )
    add_metrics(app, board, gate, visitors, web.seats, lambda: web.faults, watchdog)
    return web
