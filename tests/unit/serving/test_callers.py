"""Who may call a server that anybody can reach."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from servers import Momentum

from mp_kit.errors import AuthError, ForbiddenError, SetupError, UnavailableError
from mp_kit.serving.app import Application
from mp_kit.serving.callers import KEPT_SECONDS, OUTAGE_SECONDS, Callers
from mp_kit.serving.environment import ServerEnv
from mp_kit.serving.run import Running

OWN = {"active": True, "vendor_id": "ven_a", "deployment_id": "dep_1"}


@dataclass
class Market:
    """The marketplace's introspection.

    Attributes:
        told: What it says of any token; None when it does not answer.
        asked: The headers of the requests.
        now: Seconds.
    """

    told: dict[str, Any] | None = field(default_factory=lambda: dict(OWN))
    asked: list[str] = field(default_factory=list)
    now: float = 0.0

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answers."""
        self.asked.append(request.headers["authorization"])
        if self.told is None:
            return httpx.Response(503)
        assert ("/api/tokens/introspect", {}) == (request.url.path, json.loads(request.content))
        return httpx.Response(200, json={"success": True, "data": self.told})

    def callers(self) -> Callers:
        """The gate over it."""
        transport = httpx.MockTransport(self.answer)
        return Callers("http://market.test", "ven_a", "dep_1", transport=transport, clock=lambda: self.now)


def bearing(mark: str = "a", prefix: str = "sit") -> dict[str, str]:
    return {"authorization": f"Bearer {prefix}_{mark * 16}_{'x' * 43}"}


@pytest.mark.parametrize("deployment", ["dep_1", None])
def test_its_own_tokens_and_its_vendors_keys_come_in(deployment: str | None):
    """The marketplace is asked once a minute, with the token itself."""
    market = Market(OWN | {"deployment_id": deployment})
    callers = market.callers()
    for _ in range(3):
        callers.admit(bearing())
    assert [bearing()["authorization"]] == market.asked
    market.now = KEPT_SECONDS + 1
    callers.admit(bearing())
    assert 2 == len(market.asked)


@pytest.mark.parametrize("told", [{"active": False}, OWN | {"vendor_id": "ven_b"}, OWN | {"deployment_id": "dep_2"}])
def test_others_do_not(told: dict[str, Any]):
    """Another vendor's, another deployment's, an ended one; that, too, is asked once a minute."""
    market = Market(told)
    callers = market.callers()
    for _ in range(2):
        with pytest.raises(ForbiddenError):
            callers.admit(bearing())
    assert 1 == len(market.asked)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x", "Basic abc", "Bearer sit_short_x", "Bearer vk_' OR 1=1 --"]
)
def test_what_cannot_be_a_token_is_refused_without_asking(header: str):
    """Strangers cost the marketplace nothing."""
    market = Market()
    with pytest.raises(AuthError, match="asks for a token"):
        market.callers().admit({"authorization": header} if header else {})
    assert [] == market.asked


def test_an_ended_token_is_out_within_a_minute():
    """What was said holds no longer."""
    market = Market()
    callers = market.callers()
    callers.admit(bearing())
    market.told, market.now = {"active": False}, KEPT_SECONDS + 1
    with pytest.raises(ForbiddenError):
        callers.admit(bearing())


def test_an_outage_of_the_marketplace_keeps_out_strangers_alone():
    """Who was known within the hour is let in; after that nobody."""
    market = Market()
    callers = market.callers()
    callers.admit(bearing())
    market.told, market.now = None, OUTAGE_SECONDS - 1
    callers.admit(bearing())
    with pytest.raises(UnavailableError):
        callers.admit(bearing("b"))
    market.now = OUTAGE_SECONDS + 1
    with pytest.raises(UnavailableError):
        callers.admit(bearing())


def test_only_infer_is_gated():
    """Whether it lives and is ready anybody may ask."""
    app = Application(admit=Market({"active": False}).callers().admit)
    app.load(Momentum())
    assert 200 == app.handle("GET", "/ready", {}, b"").status
    assert 401 == app.handle("POST", "/infer", {}, b"{}").status
    assert 403 == app.handle("POST", "/infer", bearing(), b"{}").status


def test_environment_turns_it_on():
    """Where it is told whom to ask about; else the server does not start."""
    whole = {"INFER_CALLERS": "token", "VENDOR_ID": "ven_a", "DEPLOYMENT_ID": "dep_1", "PORT": "0", "HOST": "127.0.0.1"}
    market = Market({"active": False})
    env = ServerEnv.read(whole | {"MARKETPLACE_API_URL": "http://market.test"})
    running = Running(env, transport=httpx.MockTransport(market.answer))
    running.app.load(Momentum())
    running.start()
    assert 403 == running.app.handle("POST", "/infer", bearing(), b"{}").status
    running.stop()
    assert not ServerEnv.read({}).asks_callers
    for wrong in (whole, {"INFER_CALLERS": "nobody"}):
        with pytest.raises(SetupError, match="INFER_CALLERS"):
            ServerEnv.read(wrong)
