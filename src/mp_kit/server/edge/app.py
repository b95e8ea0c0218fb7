"""The edge, assembled: handlers, the envelope of errors, the context of each exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins.pydantic import PydanticPlugin
from litestar.types import ASGIApp

from mp_kit.contracts import CONTRACTS_VERSION
from mp_kit.errors import SetupError
from mp_kit.server.console.routes import or_page
from mp_kit.server.console.routes import routes as console_routes
from mp_kit.server.edge import (
    connections,
    consensus,
    console_streams,
    deployments,
    docs,
    drops,
    estimates,
    files,
    health,
    keys,
    limits,
    models,
    receipts,
    revocations,
    rounds,
    scores,
    sign_in,
    signals,
    tokens,
    training,
    vendors,
    webhooks,
)
from mp_kit.server.edge.auth import Checks
from mp_kit.server.edge.context import RequestContext
from mp_kit.server.edge.errors import answer, translate
from mp_kit.server.edge.log_streams import Streams
from mp_kit.server.edge.parts import DEPENDENCIES
from mp_kit.server.edge.watched import Watched
from mp_kit.server.house import House
from mp_kit.server.services.readiness import Readiness

_JSON_BYTES = 8 * 1024 * 1024  # a chunk of log lines is a MiB, and JSON writes some bytes as six


def create_app(house: House) -> ASGIApp:
    """The edge as an ASGI application over the edge's house (:func:`mp_kit.server.wiring.build_edge`).

    Raises:
        SetupError: It is the operator's house: its transactions would see every vendor's rows.
    """
    if house.db.role is None:
        raise SetupError("The edge takes a house of its own, never the operator's.", hint="wiring.build_edge makes it.")
    app = Litestar(
        # One router for all but bulk: handlers that share a path, registered one by one, are wrapped in threads twice.
        route_handlers=[
            Router(path="/", route_handlers=_handlers()),
            Router(
                path="/",
                route_handlers=[signals.store, consensus.store],
                request_max_body_size=house.settings.max_body_bytes,
            ),
            *console_routes(translate, limits.by_visit),
        ],
        dependencies=DEPENDENCIES,
        exception_handlers={Exception: or_page(answer, translate)},
        plugins=[PydanticPlugin(exclude_none=True)],
        guards=[limits.by_address],
        state=State(
            {
                "house": house,
                "streams": Streams(),
                "checks": Checks(),
                "readiness": Readiness(house.db, house.store),
            }
        ),
        lifespan=[_threads, revocations.listening, limits.leases],
        request_max_body_size=_JSON_BYTES,
        openapi_config=_openapi(),
        logging_config=None,
    )
    return Watched(RequestContext(app, house), house)


def _handlers() -> list:  # type: ignore[type-arg] # Litestar's own union of handlers has no short name
    return [
        *health.HANDLERS,
        rounds.list_rounds,
        rounds.list_keys,
        rounds.get_round,
        rounds.get_manifest,
        rounds.sign_urls,
        vendors.me,
        vendors.login,
        vendors.validate,
        vendors.rotate,
        *sign_in.HANDLERS,
        *keys.HANDLERS,
        *connections.HANDLERS,
        *webhooks.HANDLERS,
        tokens.introspect,
        *models.HANDLERS,
        *scores.HANDLERS,
        *deployments.HANDLERS,
        *training.HANDLERS,
        *console_streams.HANDLERS,
        estimates.estimate,
        drops.announce,
        drops.list_drops,
        signals.list_signals,
        receipts.list_receipts,
        *consensus.HANDLERS,
        files.files,
        docs.openapi,
        docs.page,
    ]


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="mp-kit marketplace",
        version=CONTRACTS_VERSION,
        description="Rounds, training, deployments, signals and consensus of a marketplace for trading models.",
        path="/schema",
        render_plugins=[],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http", scheme="bearer", description="vk_… (vendor), sit_… (deployment) or a JWT."
                )
            }
        ),
        security=[{"bearer": []}, {}],
    )


@asynccontextmanager
async def _threads(app: Litestar) -> AsyncIterator[None]:
    """As many handlers at once as there are database connections: the rest waits its turn."""
    with ThreadPoolExecutor(app.state.house.settings.edge_threads, thread_name_prefix="handler") as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        yield
        app.state.checks.close()
