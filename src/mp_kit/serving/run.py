"""From a model and an environment to a running server, and back to an orderly end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from pydantic import BaseModel

from mp_kit.client.marketplace import Marketplace
from mp_kit.client.pushes import FlushResult, PushResult
from mp_kit.client.signals import SignalBox
from mp_kit.contracts.signals import SignalWrite
from mp_kit.errors import MarketplaceError
from mp_kit.serving.app import Application
from mp_kit.serving.callers import Callers
from mp_kit.serving.environment import ServerEnv
from mp_kit.serving.model import Model
from mp_kit.serving.pulse import Pulse
from mp_kit.serving.push import Pusher, signal_of
from mp_kit.serving.web import WebServer

__all__ = ["Running", "serve"]

_LOG = logging.getLogger("mp_kit.serving")


class Running:
    """A server with everything around it.

    Args:
        env: Where to listen, and whom to tell.
        transport: An httpx transport in place of the network.
        at_once: Requests that the model works on at once.
    """

    def __init__(self, env: ServerEnv, *, transport: httpx.BaseTransport | None = None, at_once: int = 4) -> None:
        self.env = env
        self._market: Marketplace | None = None
        self._pusher: Pusher | None = None
        self._pulse: Pulse | None = None
        self._callers: Callers | None = None
        if env.asks_callers:
            self._callers = Callers(env.api_url or "", env.vendor_id, env.deployment_id, transport=transport)
        self.app = Application(
            admit=self._callers.admit if self._callers is not None else None,
            version=env.model_version,
            ping_path=env.ping_path,
            answered=self._answered,
            at_once=at_once,
        )
        self.web = WebServer(self.app, env.host, env.port)
        if env.token is not None and env.api_url is not None:
            self._market = Marketplace(env.api_url, env.token, transport=transport)
            self._pusher = Pusher(_Outlet(self._market.signals, env)) if env.push else None
        if self._market is not None and env.deployment_id is not None:
            more = self._pusher.figures if self._pusher is not None else dict
            self._pulse = Pulse(self.app, self._beat, env.heartbeat_seconds, more)

    def start(self) -> None:
        """Listens, and begins to give signs of life; the model may still be on its way."""
        self.web.start()
        for part in (self._pusher, self._pulse):
            if part is not None:
                part.start()

    def stop(self) -> None:
        """No new requests, then those on their way, then signals that wait, then the last heartbeat."""
        self.app.drain()
        if not self.web.close():
            _LOG.warning("some requests did not end in time")
        if self._pusher is not None:
            self._pusher.stop()
        if self._pulse is not None:
            self._pulse.stop()
        for open_ in (self._market, self._callers):
            if open_ is not None:
                open_.close()

    def _answered(self, request: BaseModel, answer: BaseModel, dry: bool) -> None:
        if self._pusher is None or dry:
            return
        given = signal_of(request, answer)
        if given is not None:
            self._pusher.put(given)

    def _beat(self, status: str, metrics: Mapping[str, Any]) -> None:
        if self._market is not None and self.env.deployment_id is not None:
            self._market.deployments.heartbeat(self.env.deployment_id, status, metrics=metrics)


class _Outlet:
    """The client's signals, for one deployment."""

    def __init__(self, signals: SignalBox, env: ServerEnv) -> None:
        self._signals, self._env = signals, env

    def push(self, signals: Sequence[SignalWrite]) -> PushResult:
        return self._signals.push(signals, self._env.token, deployment_id=self._env.deployment_id)

    def flush(self) -> FlushResult:
        return self._signals.flush(self._env.token, deployment_id=self._env.deployment_id)


def serve(load: Callable[[], Model], environ: Mapping[str, str] | None = None, *, at_once: int = 4) -> None:
    """Runs a server until SIGTERM or SIGINT; then ends the process: 0 after an orderly end, 1 if it could not begin.

    Args:
        load: Makes the model; called while the server already listens.
        environ: See :class:`mp_kit.serving.environment.ServerEnv`; the process's own by default.
        at_once: Requests that the model works on at once.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per heartbeat
    sys.exit(_served(load, os.environ if environ is None else environ, at_once))


def _served(load: Callable[[], Model], environ: Mapping[str, str], at_once: int) -> int:
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        running = Running(ServerEnv.read(environ), at_once=at_once)
    except MarketplaceError as error:
        return _told(error)
    running.start()
    _LOG.info("listening on port %d", running.web.port)
    try:
        running.app.load(load())
    except MarketplaceError as error:
        running.stop()
        return _told(error)
    except Exception:
        running.stop()
        raise
    _LOG.info("ready")
    over.wait()
    _LOG.info("ending")
    running.stop()
    return 0


def _told(error: MarketplaceError) -> int:
    sys.stderr.write(f"error: {error}\n")
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")
    return 1
