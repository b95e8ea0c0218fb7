"""All of RunPod's faults at once: what must hold holds whatever the dice say."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from runpods import Pair, pair, provider_of

from mp_kit.errors import MarketplaceError, ProviderError, UnavailableError
from mp_kit.server.providers.base import Handle, Phase
from mp_kit.testing.fake_runpod import Fault

_RUNS = 15
_ROUNDS = 400
CHANCES = {
    ("*", Fault.SERVER_ERROR): 0.05,
    ("*", Fault.NO_ANSWER): 0.03,
    ("*", Fault.NO_JSON): 0.03,
    ("*", Fault.RATE_LIMITED): 0.05,
    ("*", Fault.DONE_BUT_500): 0.04,
    ("*", Fault.DONE_BUT_CUT): 0.04,
    ("create", Fault.CREATED_BUT_500): 0.15,
    ("create", Fault.CREATED_BUT_CUT): 0.15,
    ("create", Fault.HIDDEN): 0.2,
    ("create", Fault.HIDDEN_FROM_LIST): 0.1,
    ("create", Fault.HIDDEN_FROM_GET): 0.1,
    ("create", Fault.NO_CAPACITY): 0.2,
    ("create", Fault.NO_ACCESS): 0.05,
    ("create", Fault.PRICE_ABOVE_QUOTE): 0.1,
    ("create", Fault.VANISHES): 0.1,
    ("create", Fault.EXITS): 0.1,
    ("create", Fault.ERRORS): 0.05,
    ("delete", Fault.DELETE_404): 0.2,
    ("delete", Fault.DELETE_LINGERS): 0.2,
    ("action", Fault.ACTION_NO_OP): 0.2,
}


class Keeper:
    """A supervisor in twenty lines: launches, finds, observes, ends; forgets its provider now and then."""

    def __init__(self, both: Pair) -> None:
        self.both = both
        self.attempts = Counter({f"run_{number}": 1 for number in range(_RUNS)})
        self.since: dict[str, datetime] = {}
        self.handles: dict[str, Handle] = {}
        self.ended: set[str] = set()
        self.given_up: set[str] = set()

    def step(self, run: str) -> None:
        """One look at a run."""
        handle = self.handles.get(run)
        if handle is not None:
            self._watch(run, handle)
            return
        try:
            self._find(run) if run in self.since else self._launch(run)
        except ProviderError:
            if run not in self.since:
                self.attempts[run] += 1
        except UnavailableError:
            self.since.setdefault(run, self.both.fake.clock.now())
        except MarketplaceError:  # final: all refused, or the budget; nothing was started
            self.given_up.add(run)

    def _launch(self, run: str) -> None:
        order = self.both.order(run, self.attempts[run], machine={"gpu": "H100"}, max_cost_usd=20.0)
        self.handles[run] = self.both.provider.launch(order)

    def _find(self, run: str) -> None:
        found = self.both.provider.find(run, self.attempts[run], "vnd_a", self.since[run])
        if found is not None:
            self.handles[run] = found
            return
        del self.since[run]
        self.attempts[run] += 1

    def _watch(self, run: str, handle: Handle) -> None:
        seen = self.both.provider.observe([handle])[handle.ref]
        if seen.phase is Phase.GONE:
            pod = next(pod for pod in self.both.fake.pods if pod.id == handle.ref)
            assert "TERMINATED" == pod.status
            self.ended.add(run)
            return
        try:
            self.both.provider.terminate(handle)
        except UnavailableError:
            return


@pytest.mark.parametrize("seed", range(4))
def test_storm(seed: int):
    """One pod per attempt, none called gone that is there, none left over, and the bill adds up."""
    with pair(settle_seconds=60.0) as both:
        both.fake.faults._random.seed(seed)
        both.fake.faults.by_chance(CHANCES, seconds=20.0)
        began = both.fake.clock.now()
        keeper = Keeper(both)
        for tick in range(_ROUNDS):
            open_runs = [run for run in keeper.attempts if run not in keeper.ended | keeper.given_up]
            if not open_runs:
                break
            keeper.step(open_runs[tick % len(open_runs)])
            both.fake.clock.advance(3)
            if tick % 40 == 39:  # the process died; a new one knows nothing
                both.provider.close()
                both.provider = provider_of(both.fake, settle_seconds=60.0)
        assert set(keeper.attempts) == keeper.ended | keeper.given_up
        both.fake.faults.clear()
        _sweep(both)
        assert {1} == set(Counter(pod.name for pod in both.fake.pods).values())
        assert [] == both.alive()
        assert abs(_billed(both, began) - sum(both.fake.billing().values(), Decimal(0))) < Decimal("0.000001")


def _sweep(both: Pair) -> None:
    """Ends what is left of condemned launches, as the marketplace's sweep does."""
    both.fake.clock.advance(60)
    for found in both.provider.mine("vnd_a"):
        both.provider.terminate(found.handle)


def _billed(both: Pair, began: datetime) -> Decimal:
    both.fake.clock.advance(60)
    handles = [Handle(pod.id, "vnd_a") for pod in both.fake.pods]
    billed = both.provider.billed(handles, began - timedelta(hours=1))
    return sum(billed.values(), Decimal(0))
