"""A marketplace that has no round yet gets one, so that the first vendor finds something to pull."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mp_kit.server.prefect_api import PrefectApi
from mp_kit.server.services import rounds
from mp_kit.server.wiring import open_house

NO_SOURCE = "none"
"""The source's name that means: publish nothing."""

_SECONDS = 600.0


def publish(home: Path, prefect_api_url: str, source: str, say: Callable[[str], None]) -> None:
    """Publishes a round through the deployment ``publish-round``, unless there is one or none is wanted.

    Args:
        home: The marketplace's folder.
        prefect_api_url: Its Prefect.
        source: ``ecb``, a path or URL of bars, or ``none``.
        say: Hears what happens.

    Raises:
        BarsError: The source's bars cannot be used; the message says why.
    """
    if source == NO_SOURCE or _has_round(home):
        return
    say(f"publishing a first round from {source}")
    place = source if source == "ecb" or "://" in source else str(Path(source).absolute())
    api = PrefectApi(prefect_api_url)
    try:
        api.run("publish-round/publish-round", {"order": {"source": place}}, seconds=_SECONDS, say=say)
    finally:
        api.close()


def _has_round(home: Path) -> bool:
    with open_house(home) as house, house.db.begin() as tx:
        return bool(rounds.newest(tx, 1))
