"""The edge as a process: ``python -m mp_kit.server.serve --port 3010``."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from mp_kit.server import redaction
from mp_kit.server.edge.app import create_app
from mp_kit.server.wiring import open_house


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="the embedded marketplace's folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3010)
    chosen = parser.parse_args()
    redaction.install()
    with open_house(chosen.home) as house:
        uvicorn.run(
            create_app(house),
            host=chosen.host,
            port=chosen.port,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            log_level="warning",
        )


if __name__ == "__main__":
    main()
