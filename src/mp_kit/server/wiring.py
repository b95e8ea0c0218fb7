"""The composition root: settings in, a ``House`` out. Nothing else reads settings or builds these parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mp_kit.server.house import House
from mp_kit.server.providers.base import Provider
from mp_kit.server.providers.local import LocalProvider
from mp_kit.server.services.tokens import TokenBook
from mp_kit.server.settings import Settings, load
from mp_kit.server.storage import open_store
from mp_kit.server.store.engine import Database
from mp_kit.signing import Signer


def build(settings: Settings) -> House:
    """Builds a house from settings."""
    store = open_store(settings.store_url, base_url=settings.base_url, url_key=settings.url_key, env=settings.store_env)
    providers: dict[str, Provider] = {}
    if settings.allow_local:
        providers["local"] = LocalProvider(settings.home / "runs")
    return House(
        settings=settings,
        db=Database(settings.database_url, pool_size=settings.edge_threads),
        store=store,
        signer=Signer(settings.signing_seed_bytes),
        tokens=TokenBook(
            pepper=settings.token_pepper, jwt_secret=settings.jwt_secret, service_key=settings.service_key
        ),
        providers=providers,
    )


@contextmanager
def open_house(home: Path | None = None) -> Iterator[House]:
    """A house for the length of a block: the marketplace of the environment, or of ``home``.

    Raises:
        SetupError: No marketplace is found, or its settings do not do.
    """
    house = build(load(home))
    try:
        yield house
    finally:
        house.close()
