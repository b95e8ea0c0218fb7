"""Server time of every page with 1,000 models, 10,000 runs and 1,000,000 signals in the database.

A real edge process over loopback and one visitor, so that what is timed is the page and no queue: from the request's
first byte to the answer's last. Model pages are those of many models, half of them with a heartbeat a minute.
"""

from __future__ import annotations

import http.client
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import numpy as np

from bench import pages_world as world
from bench.edge_world import WIDE, World, fresh
from bench.results import Result

TIMES = 100


def public() -> dict[str, Callable[[], str]]:
    """Pages by name, each as a function that gives the next address to fetch."""
    chance = random.Random(3)
    return {
        "catalogue": lambda: "/marketplace",
        "catalogue_filtered": lambda: f"/marketplace?q={chance.choice(['trend', 'model+7', 'Vendor+3'])}&symbol=EURUSD",
        "model": lambda: f"/marketplace/models/mod_{chance.randint(1, 2 * world.HEARD)}",
        "leaderboard": lambda: "/marketplace/leaderboard",
        "consensus": lambda: f"/consensus?symbol={chance.choice(['EURUSD', 'GBPUSD', 'USDJPY'])}",
        "docs": lambda: "/marketplace/docs/wire",
        "login": lambda: "/marketplace/login",
    }


def run() -> list[Result]:
    """The 95th percentile of every page, and of the slowest."""
    with serving() as (port, key):
        taken = {name: measured(port, address) for name, address in public().items()}
        session = sign_in(port, key)
        taken |= {f"own_{name}": measured(port, address, session) for name, address in own().items()}
    slow, usual = ({name: float(np.percentile(ms, share)) for name, ms in taken.items()} for share in (95, 50))
    size = f"{world.MODELS:,} models, {world.RUNS:,} runs, {world.MODELS * world.EACH:,} signals"
    worst = max(slow, key=lambda name: slow[name])
    return [
        *(
            Result(f"pages.{name}_p95_ms", value, "ms", f"{usual[name]:.0f} ms the median of {TIMES}", None)
            for name, value in slow.items()
        ),
        Result("pages.p95_ms", slow[worst], "ms", f"the slowest, {worst}; {size}", None, "< 100"),
    ]


def own() -> dict[str, Callable[[], str]]:
    """Pages of a vendor that is signed in."""
    desk = "/marketplace/vendor"
    return {
        "catalogue": lambda: "/marketplace",
        "model": lambda: "/marketplace/models/mod_50",
        "desk": lambda: desk,
        "training": lambda: f"{desk}/training?status=succeeded",
        "run": lambda: f"{desk}/training/run_50",
        "new_run": lambda: f"{desk}/training/new",
        "models": lambda: f"{desk}/models",
        "own_model": lambda: f"{desk}/models/mod_50",
        "register": lambda: f"{desk}/models/new?run=run_50",
        "deployments": lambda: f"{desk}/deployments",
        "deploy": lambda: f"{desk}/deployments/new?model=mod_50/ver_50_2",
        "deployment": lambda: f"{desk}/deployments/dep_50",
        "connections": lambda: f"{desk}/connections",
        "keys": lambda: f"{desk}/keys",
        "webhooks": lambda: f"{desk}/webhooks",
    }


@contextmanager
def serving() -> Iterator[tuple[int, str]]:
    """An edge process over a full database; its port, and a vendor's key."""
    with fresh() as made:
        key = world.fill(made.house)
        made.house.close()
        with World(made.home, made.database_url, [], made.postgres).edge(MP_LIMITS=WIDE) as edge:
            yield edge.port, key


def measured(port: int, address: Callable[[], str], session: str = "") -> list[float]:
    """Milliseconds of each request, after a few that warm up."""
    seconds: list[float] = []
    for turn in range(TIMES + 5):
        began = time.perf_counter()
        status, _, body = fetch(port, address(), session)
        if turn >= 5:
            seconds.append((time.perf_counter() - began) * 1e3)
        assert (status, True) == (200, b"</html>" in body), body[:300]
    return seconds


def sign_in(port: int, key: str) -> str:
    """The cookie of a session, by way of the form."""
    _, cookies, page = fetch(port, "/marketplace/login")
    token = re.search(rb'name="csrf" value="([0-9a-f]+)"', page)
    assert token is not None
    body = urlencode({"csrf": token[1].decode(), "api_key": key})
    status, cookies, _ = fetch(port, "/marketplace/login", cookies.partition(";")[0], body)
    assert status == 303
    return next(part for part in re.split(r"[;,]\s*", cookies) if part.startswith("mp_session="))


def fetch(port: int, path: str, cookie: str = "", body: str | None = None) -> tuple[int, str, bytes]:
    """Status, cookies set, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Cookie": cookie} if cookie else {}
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request("GET" if body is None else "POST", path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, ", ".join(answer.headers.get_all("set-cookie") or []), content
