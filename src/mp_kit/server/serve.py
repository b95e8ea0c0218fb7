"""The edge as a process: ``python -m mp_kit.server.serve --port 3010``."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import threading
from contextlib import suppress
from pathlib import Path

import uvicorn

from mp_kit.errors import MarketplaceError, SetupError
from mp_kit.server import redaction, scrape
from mp_kit.server.edge.app import create_app
from mp_kit.server.edge.patience import PatientProtocol
from mp_kit.server.house import House
from mp_kit.server.storage import ObjectStore
from mp_kit.server.telemetry import logs
from mp_kit.server.wiring import open_house

log = logging.getLogger(__name__)


def settle_heap() -> None:
    """Takes what was loaded at the start out of the garbage collector's sight, and lets it look less often.

    A batch of 10,000 signals makes so many objects that the collector runs in the middle of it, over everything that
    was ever imported: a third of the request's time, and it finds nothing, for batches leave no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def ensure_lifecycle(store: ObjectStore) -> None:
    """Has a bucket clear broken-off uploads by itself; that it does not is worth a warning, and no more."""
    try:
        found = store.tidy.ensure_lifecycle()
    except MarketplaceError as error:
        log.warning("The store's lifecycle rules were not checked: %s", error)
        return
    log.log(logging.WARNING if found.state == "refused" else logging.INFO, "%s", found.detail)


def configured(house: House, host: str, port: int) -> uvicorn.Config:
    """How the edge is served; X-Forwarded-For is believed of the operator's own proxies and of nobody else."""
    return uvicorn.Config(
        create_app(house),
        http=PatientProtocol,
        ws="none",  # there are none: an upgrade is answered as what it is without
        host=host,
        port=port,
        access_log=False,  # ours has routes and ids, and no queries
        log_config=None,  # its loggers pass up to the root's handler
        server_header=False,
        timeout_graceful_shutdown=5,
        log_level="warning",
        proxy_headers=bool(house.settings.trusted_proxies),
        forwarded_allow_ips=list(house.settings.trusted_proxies),
    )


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="the embedded marketplace's folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3010)
    chosen = parser.parse_args()
    redaction.install()
    try:
        _serve(chosen.home, chosen.host, chosen.port)
    except SetupError as error:  # a sentence for the operator, not a traceback
        sys.exit("\n".join(filter(None, (f"The edge does not start: {error}", error.hint))))


def _serve(home: Path | None, host: str, port: int) -> None:
    with open_house(home, edge=True) as house:
        logs.configure(house.settings.log_format, house.settings.log_level)
        server = uvicorn.Server(configured(house, host, port))
        settle_heap()
        # Beside the start: a store that does not answer must not hold up what needs no store.
        threading.Thread(target=ensure_lifecycle, args=(house.store,), name="store-rules", daemon=True).start()
        with scrape.serve(house), suppress(KeyboardInterrupt):
            server.run()
    if not server.started:
        sys.exit(3)  # as uvicorn does


if __name__ == "__main__":
    main()
