"""A sandbox as a vendor uses it: real bars where they lie beside the checkout, one box for all that only look."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from walks import write_bars

import mp_kit
from mp_kit.errors import BarsError, InvalidInputError, SetupError
from mp_kit.rehearsal.moment import Moment

pytestmark = [pytest.mark.hardening, pytest.mark.slow]

FX = Path(__file__).parents[2] / ".." / "shared" / "data" / "fx" / "1h"
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars that are always there."""
    return write_bars(tmp_path_factory.mktemp("bars"), "EURUSD")


@pytest.fixture(scope="module")
def month(walk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A sandbox in which five days have gone by, with what a model of one's own was shown, and what all had said."""
    seen: list[tuple[datetime, datetime, datetime]] = []

    def model(moment: Moment) -> dict[str, tuple[str, float]]:
        bars = moment.bars("EURUSD")
        seen.append((moment.now, box.now, bars.index[-1].to_pydatetime()))
        return {symbol: ("BUY" if len(seen) % 2 else "SELL", 0.6) for symbol in moment.symbols}

    where, start = (FX, "2018-05-01") if FX.is_dir() else (walk, "2024-03-01")
    home = tmp_path_factory.mktemp("sandbox")
    with mp_kit.sandbox(where, start=start, vendors=3, round_every="2d", home=home) as box:
        done = box.run(days=5, model=model, progress=False)
        markets = {voice.deployment.deployment_id: voice.market for voice in [*box.house, box._own]}
        told = {name: market.signals.list(limit=100_000) for name, market in markets.items()}
        rounds = [box.market.rounds.manifest(one.round_id) for one in box.market.rounds.list()]
        yield SimpleNamespace(box=box, done=done, markets=markets, told=told, seen=seen, rounds=rounds)


def test_leaderboard_is_what_mp_score_says(month: SimpleNamespace):
    """Every number of each card equals the one made at home of the same signals and round, to the last bit."""
    assert sorted(month.markets) == sorted(entry.deployment_id for entry in month.done.board)
    for entry in month.done.board:
        mine = month.markets[entry.deployment_id].scores.score(
            month.told[entry.deployment_id], entry.round_id, tries=entry.card.tries, progress=False
        )
        assert entry.card.model_dump() == mine.model_dump()
        assert mine.hit_rate.value is not None


def test_everybody_spoke_in_time(month: SimpleNamespace):
    """Nothing late, nothing back-dated: stored after the bar's close and within the minute."""
    told = [one for signals in month.told.values() for one in signals]
    assert month.done.signals == len(told)
    waited = [one.received_at - one.event_time - HOUR for one in told]
    assert timedelta(0) <= min(waited)
    assert max(waited) < timedelta(minutes=1)
    assert {False} == {one.late for one in told}


def test_nothing_is_seen_before_its_time(month: SimpleNamespace):
    """A model sees the bar that has just closed and none after it; a round has none that closed after its making."""
    assert month.done.closes == len(month.seen)
    assert {HOUR} == {now - newest for now, _, newest in month.seen}
    assert all(now <= clock for now, clock, _ in month.seen)
    assert 4 == len(month.rounds)
    for one in month.rounds:
        newest = max(file.max_time for file in one.files if file.max_time is not None)
        assert newest + HOUR == month.box._tape.closes(month.box.start - timedelta(days=9), one.created_at)[-1]
    newest = max(entry.computed_at for entry in month.done.board)
    assert newest <= month.box.now


def test_the_clock_is_everybodys(month: SimpleNamespace):
    """Rows, keys and sessions are of the sandbox's time, on both sides of the database."""
    me = month.box.market.me()
    assert abs(me.created_at - month.box.start) < timedelta(minutes=1)
    ends = min(key.expires_at for key in month.box.market.keys.list())
    assert abs(ends - month.box.start - timedelta(days=90)) < timedelta(minutes=1)
    key = month.box.operator.key_of("you").get_secret_value()
    session = httpx.post(f"{month.box.url}/api/vendors/login", json={"api_key": key}).json()["data"]
    bearing = {"Authorization": f"Bearer {session['token']}"}
    assert me.id == httpx.get(f"{month.box.url}/api/vendors/me", headers=bearing).json()["data"]["id"]
    assert month.box.url in repr(month.box)
    assert month.done.round_id in month.done._repr_html_()


def test_a_heartbeat_counts_for_the_gate(month: SimpleNamespace):
    """Functions with a search path of their own go by the sandbox's clock too."""
    own = month.box._own
    own.beat()
    gates = {
        gate.name: gate.met for version in own.market.models.lineage(own.model_id).versions for gate in version.gates
    }
    assert (True, False) == (gates["heartbeats"], gates["approval"])
    month.box.operator.approve(own.model_id)
    gates = {
        gate.name: gate.met for version in own.market.models.lineage(own.model_id).versions for gate in version.gates
    }
    assert gates["approval"]


def test_tokens_are_renewed_before_they_end(month: SimpleNamespace):
    """A deployment's token lives 30 days: whoever speaks gets another in time, and not before."""
    voice = month.box.house[0]
    before = voice.token
    voice.renew(before.expires_at - timedelta(days=4))
    assert before is voice.token
    voice.renew(before.expires_at - timedelta(days=2))
    assert before.infra_token != voice.token.infra_token


def test_time_only_goes_on(month: SimpleNamespace):
    """Not back, not nowhere, not past the last bar; and whoever tries does no harm."""
    with pytest.raises(InvalidInputError, match="is over"):
        month.box.advance(until=month.box.start)
    with pytest.raises(InvalidInputError, match="How far"):
        month.box.advance()
    with pytest.raises((BarsError, InvalidInputError), match=r"end at|lives"):
        month.box.advance(until=month.box.ends + timedelta(days=4))
    with pytest.raises(InvalidInputError, match="knows no"):
        month.box._host.ask("rewind")


def test_a_model_that_raises(month: SimpleNamespace):
    """Its error is the caller's, and the sandbox goes on."""
    with pytest.raises(ZeroDivisionError):
        month.box.advance("1d", model=lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    before = month.box.now
    assert month.box.advance("2h") >= before + 2 * HOUR


def test_two_at_once_and_a_killed_one(month: SimpleNamespace, walk: Path):
    """Each has its own time; a marketplace that is killed says so, and leaves nothing running."""
    with mp_kit.sandbox(walk, start="2024-02-20") as other:
        assert datetime(2024, 2, 20, tzinfo=UTC) < other.now < datetime(2024, 2, 21, tzinfo=UTC)
        assert month.box.now.date() != other.now.date()
        os.kill(other._host.pid, signal.SIGKILL)
        with pytest.raises(SetupError, match="not there any more"):
            other.advance("1h")
        home = other.home
    assert [] == _until(lambda: _living(home), [])


def test_mp_sandbox_killed(walk: Path, tmp_path: Path):
    """The command replays, prints JSON, stays up, and tells no key; killed by -9 it leaves no process and no folder."""
    env = {**os.environ, "TMPDIR": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    command = [sys.executable, "-c", "from mp_kit.cli.main import run; run()", "sandbox", "--bars", str(walk)]
    command += ["--start", "2024-03-01", "--days", "0.25", "--vendors", "1", "--keep", "--json"]
    log = tmp_path / "stderr"
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env) as one,
    ):
        _until(lambda: "your commands" in log.read_text() or one.poll() is not None, wanted=True)
        one.kill()
        printed = one.stdout.read() if one.stdout else ""
    assert (6, 6) == (json.loads(printed)["closes"], json.loads(printed)["signals"])
    assert "vk_" not in printed + log.read_text()
    homes = [*tmp_path.glob("mp-sandbox-*")]
    assert [] == _until(lambda: _living(tmp_path), [])
    assert [] == _until(lambda: [home for home in homes if home.exists()], [])


def _until(look: Any, wanted: object = None, seconds: float = 200.0) -> Any:
    """What is seen in the end: the wanted, or what there is when the time is over."""
    end = time.monotonic() + seconds
    while (found := look()) != wanted and time.monotonic() < end:
        time.sleep(0.1)
    return found


def _living(folder: Path) -> list[str]:
    """Processes that work in a folder or were told of it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place, told = (process / "cwd").readlink(), (process / "cmdline").read_bytes()
        except OSError:
            continue
        if folder in [place, *place.parents] or str(folder).encode() in told:
            found.append(f"{process.name} {told[:80]!r}")
    return found
