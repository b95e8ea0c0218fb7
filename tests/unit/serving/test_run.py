"""The whole server against a marketplace in memory: signals, heartbeats, the end."""

from __future__ import annotations

import os
import signal as signal_module
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from servers import Momentum

from mp_kit import Marketplace
from mp_kit.client.pushes import FlushResult, PushResult
from mp_kit.contracts.inference import ConsensusInferRequest, InferRequest, InferResponse
from mp_kit.contracts.signals import SignalWrite
from mp_kit.errors import AuthError, IntegrityError, InvalidInputError, NetworkError, SetupError
from mp_kit.serving.app import Application
from mp_kit.serving.environment import ServerEnv
from mp_kit.serving.figures import Figures
from mp_kit.serving.pulse import Pulse, status_of
from mp_kit.serving.push import Pusher, signal_of
from mp_kit.serving.run import Running, serve
from mp_kit.serving.window import Windows
from mp_kit.testing import FakeMarketplace

ANSWER = InferResponse.model_validate(
    {"decision": "BUY", "confidence": 0.7, "model_version": "1", "timestamp": "2026-01-02T16:00:01Z"}
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.fixture
def fake() -> FakeMarketplace:
    return FakeMarketplace()


@pytest.fixture
def running(fake: FakeMarketplace) -> Iterator[Running]:
    """A server with its deployment; it is ended by the test or here."""
    market = Marketplace(fake.url, fake.api_key, transport=fake.transport)
    deployment = market.deployments.create("live", provider="byoc")
    env = ServerEnv.read(
        {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "MARKETPLACE_API_URL": fake.url,
            "MARKETPLACE_TOKEN": deployment.infra_token or "",
            "DEPLOYMENT_ID": deployment.deployment_id,
        }
    )
    made = Running(env, transport=fake.transport)
    made.start()
    made.app.load(Momentum())
    yield made
    made.stop()


def ask(running: Running, bars: Windows, **headers: str) -> httpx.Response:
    body = {"symbol": "EURUSD", "timeframe": "1h", "ohlcv": bars.rows("EURUSD", 3)}
    return httpx.post(f"http://127.0.0.1:{running.web.port}/infer", json=body, headers=headers)


def test_answer_becomes_a_signal(running: Running, fake: FakeMarketplace, bars: Windows):
    """Of the newest bar; the same bar twice is one signal."""
    first = ask(running, bars).json()
    ask(running, bars)
    running.stop()
    [stored] = Marketplace(fake.url, fake.api_key, transport=fake.transport).signals.list()
    assert (first["decision"], bars.rows("EURUSD", 1)[0][0]) == (stored.decision, stored.event_time.timestamp())
    assert running.env.deployment_id == stored.deployment_id


def test_dry_run_leaves_no_signal(running: Running, fake: FakeMarketplace, bars: Windows):
    """What `mp validate` sends."""
    assert 200 == ask(running, bars, **{"X-Marketplace-Dry-Run": "true"}).status_code
    running.stop()
    assert "POST /api/signals/store" not in fake.requests


def test_last_heartbeat_says_goodbye(running: Running, fake: FakeMarketplace):
    """The deployment is offline at once, not after a silence."""
    running.stop()
    market = Marketplace(fake.url, fake.api_key, transport=fake.transport)
    assert "offline" == market.deployments.get(running.env.deployment_id or "").status


def test_server_without_token_sends_nothing(bars: Windows):
    """A laptop."""
    made = Running(ServerEnv.read({"HOST": "127.0.0.1", "PORT": "0"}))
    made.start()
    made.app.load(Momentum())
    assert 200 == ask(made, bars).status_code
    made.stop()


@pytest.mark.parametrize(
    ("requests", "errors", "word"), [(0, 0, "ready"), (10, 4, "ready"), (10, 5, "error"), (1, 1, "error")]
)
def test_sick_server_says_so(requests: int, errors: int, word: str, app: Application):
    """Half of the answers since the last heartbeat failed."""
    assert word == status_of(app, requests=requests, errors=errors)


def test_loading_server_is_pending():
    """It lives already."""
    assert "pending" == status_of(Application(), requests=0, errors=0)


def test_heartbeat_has_real_figures(app: Application):
    """Processor, memory, latency and errors of this process."""
    sent: list[tuple[str, dict[str, Any]]] = []
    pulse = Pulse(app, lambda status, metrics: sent.append((status, dict(metrics))), 30.0, lambda: {"more": 1})
    app.handle("POST", "/infer", {"content-type": "application/json"}, b"{}")
    pulse.once()
    [(status, metrics)] = sent
    assert ("ready", 1, 1, 0, 1) == (
        status,
        metrics["requests"],
        metrics["refused"],
        metrics["errors"],
        metrics["more"],
    )
    assert metrics["memory_bytes"] > 1_000_000
    assert metrics["latency_p95_ms"] > 0


def test_failing_heartbeat_is_told_once(app: Application, caplog: pytest.LogCaptureFixture):
    """And again after one that went through."""
    outcomes: list[Exception | None] = [NetworkError("down"), NetworkError("down"), None, NetworkError("down")]

    def beat(status: str, metrics: Any) -> None:  # noqa: ARG001 - the signature is the protocol's
        if (error := outcomes.pop(0)) is not None:
            raise error

    pulse = Pulse(app, beat, 30.0)
    for _ in range(4):
        pulse.once()
    assert 2 == len([record for record in caplog.records if "no heartbeat" in record.message])


def test_cpu_is_of_the_time_between_heartbeats():
    """A look at /health in between does not begin it anew."""
    now, spent = [0.0], [0.0]
    figures = Figures(lambda: now[0], lambda: spent[0])
    now[0], spent[0] = 10.0, 5.0
    assert 50.0 == figures.metrics(mark=False)["cpu_percent"] == figures.metrics()["cpu_percent"]
    now[0] = 20.0
    assert 0.0 == figures.metrics()["cpu_percent"]


def signal(number: int) -> SignalWrite:
    return SignalWrite.model_validate(
        {
            **ANSWER.model_dump(),
            "symbol": "EURUSD",
            "timeframe": "1h",
            "event_time": f"2026-01-02T{number:02}:00:00Z",
        }
    )


class Outlet:
    """An outbox whose marketplace does what a test says.

    Args:
        *outcomes: Of one call after the other: ``None`` takes all, ``"down"`` takes nothing, an error is raised.
    """

    def __init__(self, *outcomes: Exception | str | None) -> None:
        self.outcomes = list(outcomes)
        self.taken: list[SignalWrite] = []
        self.disk: list[SignalWrite] = []
        self.calls: list[str] = []
        self.empty = threading.Event()

    def push(self, signals: Sequence[SignalWrite]) -> PushResult:
        """What the outcome says."""
        self.calls.append("push")
        outcome = self._next()
        self.disk += signals
        if outcome == "down":
            return PushResult(0, 0, 0, 0, [], pending=len(signals), reason="down")
        return PushResult(self._sent(), 0, 0, 0, [])

    def flush(self) -> FlushResult:
        """What the outcome says."""
        self.calls.append("flush")
        if self._next() == "down":
            return FlushResult(pending=len(self.disk), reason="down")
        return FlushResult(accepted=self._sent())

    def _next(self) -> str | None:
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _sent(self) -> int:
        count, self.taken, self.disk = len(self.disk), [*self.taken, *self.disk], []
        if count:
            self.empty.set()
        return count


def pushed(outlet: Outlet, count: int = 3, *, until_empty: bool = False) -> Pusher:
    """A pusher that was given some signals and has ended."""
    pusher = Pusher(outlet, wait=0.001)
    for number in range(count):
        pusher.put(signal(number))
    pusher.start()
    if until_empty:
        outlet.empty.wait(10)
    pusher.stop(10)
    return pusher


def hours(outlet: Outlet) -> list[int]:
    return [one.event_time.hour for one in outlet.taken if one.event_time is not None]


def test_signals_wait_on_disk_for_the_marketplace():
    """In their order, each once, however often it takes."""
    outlet = Outlet("down", "down", NetworkError("down"), "down")
    pusher = pushed(outlet, until_empty=True)
    assert [0, 1, 2] == hours(outlet)
    assert {"signals_pushed": 3, "signals_failed": 0, "signals_waiting": 0} == pusher.figures()


def test_nothing_waits_that_nobody_gave():
    """A figure is measured, never assumed."""
    assert 0 == Pusher(Outlet()).figures()["signals_waiting"]


def test_what_an_earlier_process_left_is_sent():
    """Without any new signal."""
    outlet = Outlet()
    outlet.disk = [signal(7)]
    pusher = pushed(outlet, 0, until_empty=True)
    assert ([7], 1) == (hours(outlet), pusher.figures()["signals_pushed"])


def test_end_leaves_them_on_disk():
    """After one more try; that is no loss."""
    pusher = pushed(Outlet(*["down"] * 1_000))
    assert {"signals_pushed": 0, "signals_failed": 0, "signals_waiting": 3} == pusher.figures()


def test_bad_token_keeps_them_on_disk(caplog: pytest.LogCaptureFixture):
    """Until somebody mends it; told."""
    pusher = pushed(Outlet(*[AuthError("The token has expired.")] * 1_000))
    assert 0 == pusher.figures()["signals_failed"]
    assert "expired" in caplog.text


def test_refused_signals_are_dropped_and_told(caplog: pytest.LogCaptureFixture):
    """Sending them again would be refused again."""
    pusher = pushed(Outlet(InvalidInputError("They break the contract.")))
    assert {"signals_pushed": 0, "signals_failed": 3, "signals_waiting": 0} == pusher.figures()
    assert "break the contract" in caplog.text


def test_full_disk_keeps_them_in_memory():
    """And they go when there is room, in their order."""
    outlet = Outlet(*[SetupError("The disk is full.")] * 3)
    pusher = pushed(outlet, until_empty=True)
    assert ([0, 1, 2], 0) == (hours(outlet), pusher.figures()["signals_failed"])


def test_loss_is_told(caplog: pytest.LogCaptureFixture):
    """A disk that stays full, and a server that ends."""
    pusher = pushed(Outlet(*[SetupError("The disk is full.")] * 1_000))
    assert 3 == pusher.figures()["signals_failed"]
    assert "the server ended before" in caplog.text


def test_signal_of_needs_a_bar():
    """Features alone speak of no bar, and a consensus is nobody's signal."""
    bare = InferRequest.model_validate({"symbol": "X", "timeframe": "1h", "features": {"a": 1}})
    voices = ConsensusInferRequest.model_validate(
        {"symbol": "X", "timeframe": "1h", "signals": {"a": ANSWER.model_dump()}}
    )
    assert [None, None] == [signal_of(request, ANSWER) for request in (bare, voices)]


@pytest.fixture
def _signals() -> Iterator[None]:
    """Puts back the handlers that a server sets."""
    kept = {number: signal_module.getsignal(number) for number in (signal_module.SIGTERM, signal_module.SIGINT)}
    yield
    for number, handler in kept.items():
        signal_module.signal(number, handler)


LOCAL = {"HOST": "127.0.0.1", "PORT": "0"}


@pytest.mark.usefixtures("_signals")
def test_model_that_cannot_be_loaded_ends_the_server(capsys: pytest.CaptureFixture[str]):
    """Exit 1 with the sentence and what to do, no traceback."""

    def load() -> Momentum:
        raise IntegrityError("The model is another one.", hint="Copy both files.")

    with pytest.raises(SystemExit) as ended:
        serve(load, LOCAL)
    assert (1, "error: The model is another one.\nhint: Copy both files.\n") == (
        ended.value.code,
        "".join(line for line in capsys.readouterr().err.splitlines(keepends=True) if " INFO " not in line),
    )


@pytest.mark.usefixtures("_signals")
def test_mistake_in_the_vendors_code_is_its_own_traceback():
    """Nothing hides it."""

    def load() -> Momentum:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        serve(load, LOCAL)


@pytest.mark.usefixtures("_signals")
def test_wrong_environment_ends_the_server(capsys: pytest.CaptureFixture[str]):
    """Before the model is loaded."""
    with pytest.raises(SystemExit) as ended:
        serve(Momentum, {"PORT": "http"})
    assert (1, True) == (ended.value.code, "PORT" in capsys.readouterr().err)


@pytest.mark.usefixtures("_signals")
def test_taken_port_is_told(capsys: pytest.CaptureFixture[str]):
    """With its number."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with pytest.raises(SystemExit) as ended:
            serve(Momentum, {"HOST": "127.0.0.1", "PORT": port})
    assert (1, True) == (ended.value.code, port in capsys.readouterr().err)


@pytest.mark.usefixtures("_signals")
def test_sigterm_is_an_orderly_end():
    """Exit 0, while the model answers."""

    def load() -> Momentum:
        os.kill(os.getpid(), signal_module.SIGTERM)
        return Momentum()

    with pytest.raises(SystemExit) as ended:
        serve(load, LOCAL)
    assert 0 == ended.value.code
