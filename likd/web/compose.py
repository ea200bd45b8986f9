"""Composes the web for an engine: gate, operations, views, pages, and the server in front of them."""

from __future__ import annotations

from likd import __version__
from likd.config.settings import Config
from likd.durability.filenames import LOGINS, SHARES
from likd.engine import Engine
from likd.runtime.watchdog import Watchdog
from likd.status import StatusReport
from likd.testing.faults import Faults
from likd.web.access.addresses import Proxies
from likd.web.access.body_budget import BodyBudget
from likd.web.access.caller import Caller
from likd.web.access.connection_limit import ConnectionLimit
from likd.web.access.gate import Gate
from likd.web.access.refusals import Refusals
from likd.web.access.sessions import Logins
from likd.web.access.shares import Shares as SharesMade
from likd.web.access.tokens import Tokens
from likd.web.access.visitors import Visitors
from likd.web.api.admin import Admin
from likd.web.api.counts import CountReads
from likd.web.api.event_bodies import EventBodies
from likd.web.api.events import Posting
from likd.web.api.files import Files
from likd.web.api.histories import Histories
from likd.web.api.live_news import OwnStatus
from likd.web.api.live_socket import LiveSessions
from likd.web.api.page_lists import PageLists
from likd.web.api.pictures import Pictures
from likd.web.api.reads import Reads
from likd.web.api.shares import ShareLinks
from likd.web.api.sites import SiteLists
from likd.web.api.sources import KeptFor, Sources
from likd.web.api.urls import Urls
from likd.web.express.answering import Send
from likd.web.express.hot_reads import HotReads
from likd.web.express.hot_requests import Drop, HotRequests
from likd.web.fronts.desk import Desk
from likd.web.fronts.fronts import Fronts, Shares
from likd.web.fronts.messages import VERSION, Welcome
from likd.web.fronts.process import FrontProcess
from likd.web.full.app import create_app
from likd.web.full.fault_endpoint import add_fault_point
from likd.web.full.pages import Pages, add_files, add_pages
from likd.web.full.pages.asking import Api
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
    """The web server of a daemon, listening but not yet running. Raises BindError, ConfigError.

    With `faults`, there is an endpoint that makes the daemon fail.
    """
    refusals = Refusals()
    logins = Logins(tokens.admin[0], config.data_dir / LOGINS) if tokens.admin else None
    shares_made = SharesMade(engine.actor_keys.secret, config.data_dir / SHARES)
    gate = Gate(config, tokens, logins=logins, refusals=refusals, shares=shares_made)
    tls = server_context(config)
    fronts = config.processes if config.processes > 1 else 0
    shares = Shares.of(config.bodies_bytes_max, config.body_bytes_max, fronts)
    room = BodyBudget(shares.engine)
    visitors = Visitors(config.public_actors, config.ignore_bots, engine.actor_keys.visitor)
    urls = Urls(engine.rules, gate, engine.actors)
    bodies = EventBodies(
        ingest=engine.ingest,
        gate=gate,
        visitors=visitors,
        body_bytes_max=config.body_bytes_max,
        bodies_bytes_max=shares.engine,
        urls_max=config.counters_max,
    )
    posting = Posting(intake=engine.intake, bodies=bodies, urls=urls, visitors=visitors)
    counts = CountReads(urls, engine.totals, engine.top, engine.handlers.counts)
    board = StatusReport(
        engine,
        __version__,
        lambda: () if web.fronts is None else web.fronts.statistics(),
        lambda: refusals.statistics().refused_24h,
    )
    status = OwnStatus(lambda: {"status": board.status(), "tree": board.tree()})

    async def charge(caller: Caller) -> bool:
        return gate.charge(caller)

    sessions = LiveSessions(
        hub=engine.hub,
        urls=urls,
        counts=counts,
        gate=gate,
        charge=charge,
        status=status,
        interval_seconds=config.live_interval,
        watches_max=config.watches_max,
    )
    files = Files(config.base_path)
    pages = Pages(files=files, gate=gate, base=config.base_path, time_zone=config.time_zone)
    app = create_app(gate=gate, body_limit=bodies.limit, pages=pages, tls=tls is not None)
    sources = Sources(
        urls,
        counts,
        engine.totals,
        engine.store,
        engine.unapplied,
        KeptFor(config.keep_minutes, config.keep_hours),
        engine.clock.now,
    )
    histories, sites, lists = Histories(sources), SiteLists(sources), PageLists(sources)
    reads = Reads(counts, engine.totals, engine.store, histories)
    pictures = Pictures(posting, urls, counts, engine.totals, gate)
    admin = Admin(
        urls, counts, engine.merger, engine.totals, engine.store, engine.rules, engine.handlers.counts, engine.clock.now
    )
    shares_api = ShareLinks(shares_made, urls, config.base_path)
    add_api(
        app,
        posting=posting,
        counts=counts,
        reads=reads,
        pictures=pictures,
        sites=sites,
        lists=lists,
        shares=shares_api,
        admin=admin,
        status=board,
        bounds=engine.bounds,
        sessions=sessions,
    )
    api = Api(urls, counts, reads, sites, lists, admin, shares_api, config.time_zone)
    add_pages(app, pages, gate=gate, api=api, status=board, files=files)
    add_files(app, files)
    if faults is not None:
        add_fault_point(app, faults, engine.root)
    hot_reads = HotReads(counts, reads, pictures, files)

    def make_requests(send: Send, drop: Drop) -> HotRequests:
        return HotRequests(
            posting=posting,
            bodies=bodies,
            reads=hot_reads,
            gate=gate,
            room=room,
            long_requests_max=connections_max,
            send=send,
            drop=drop,
        )

    listeners = await open_listeners(config.bind, socket_mode=config.socket_mode, processes=config.processes)
    web = WebServer(
        make_requests=make_requests,
        recall=bodies.recall,
        gate=gate,
        app=app,
        listeners=listeners,
        tls=tls,
        hub=engine.hub,
        sessions=sessions,
        seats=ConnectionLimit(
            connections_max, config.connections_per_address, Proxies(config.trusted_proxies), refusals
        ),
        room=room,
        head_seconds=config.head_timeout,
        idle_seconds=config.idle_timeout,
        grace_seconds=config.shutdown_timeout / 2,
        base=config.base_path,
        fronts=fronts,
    )
    if fronts:
        desk = Desk(
            posting=posting,
            gate=gate,
            hub=engine.hub,
            status=status,
            make_requests=make_requests,
            seats=web.seats,
            take_connection=web.take,
            base=config.base_path,
        )
        welcome = _welcome(config, engine, tokens, connections_max, shares.front)
        web.stand_behind(
            desk,
            Fronts(
                [
                    FrontProcess(desk, sockets, welcome, config.log_format, config.hung_timeout)
                    for sockets in (listeners.sockets, *listeners.copies)
                ]
            ),
        )
    add_metrics(app, board, gate, visitors, web.seats, lambda: web.faults, watchdog)
    return web


def _welcome(config: Config, engine: Engine, tokens: Tokens, connections_max: int, bodies_bytes_max: int) -> Welcome:
    return Welcome(
        version=VERSION,
        base=config.base_path,
        tls=(config.tls_cert, config.tls_key) if config.tls_cert else None,
        binds=tuple(map(str, config.bind)),
        origins=config.origins,
        connections_max=connections_max,
        head_seconds=config.head_timeout,
        idle_seconds=config.idle_timeout,
        body_bytes_max=config.body_bytes_max,
        bodies_bytes_max=bodies_bytes_max,
        urls_max=config.counters_max,
        kinds=tuple(engine.handlers.kinds),
        done=dict(engine.handlers.done),
        same_schemes=config.same_schemes,
        drop_parameters=config.drop_parameters,
        secret=engine.actor_keys.secret,
        public_sites=config.public_sites,
        counts=tuple(engine.handlers.counts),
        live_interval=config.live_interval,
        watches_max=config.watches_max,
        admin_tokens=tokens.admin,
        write_tokens=tokens.write,
        trusted_proxies=config.trusted_proxies,
        public_actors=config.public_actors,
        ignore_bots=config.ignore_bots,
        address_limit=(config.address_rate, config.address_burst),
        token_limit=(config.token_rate, config.token_burst),
    )
