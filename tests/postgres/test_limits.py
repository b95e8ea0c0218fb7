"""Limits over one Postgres: several processes share a bucket, nothing is admitted beyond it, nothing is lost of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import pytest
from sqlalchemy import text

from mp_kit.server.rates import Limit
from mp_kit.server.services.limits import SHARE, Limiter, Standing
from mp_kit.server.store.engine import Database
from mp_kit.server.store.limits import Ask, Buckets, Grant

SLOW = Limit("slow", 80, 3_600.0, 80)
QUICK = Limit("quick", 1_200, 60.0, 40)
LIMITS = {limit.name: limit for limit in (SLOW, QUICK)}


class Counted(Buckets):
    """Buckets that count how often they were asked."""

    asked = 0

    def take(self, asks: Sequence[Ask]) -> dict[str, Grant]:
        """Leases tokens."""
        self.asked += 1
        return super().take(asks)


@pytest.fixture(scope="module")
def db(migrated_url: Callable[[], str]) -> Iterator[Database]:
    """A database of the module's own."""
    made = Database(migrated_url())
    yield made
    made.close()


@pytest.fixture
def process(db: Database) -> Iterator[Callable[[], Limiter]]:
    """A factory of what an edge process has."""
    made: list[Limiter] = []

    def create() -> Limiter:
        made.append(Limiter(Counted(db), LIMITS))
        return made[-1]

    yield create
    for one in made:
        one.close()


def take(limiter: Limiter, name: str, subject: str) -> Standing:
    """One request."""
    told = limiter.take(name, subject)
    assert told is not None
    return told.result(5) if isinstance(told, Future) else told


def admitted(limiter: Limiter, name: str, subject: str, times: int) -> int:
    """How many of so many requests pass."""
    return sum(take(limiter, name, subject).admitted for _ in range(times))


def test_a_process_admits_the_burst_and_no_more(process: Callable[[], Limiter]):
    """To the request; who is refused hears when the next one passes, and when all are there again."""
    limiter = process()
    standings = [take(limiter, "slow", "one") for _ in range(SLOW.burst + 3)]
    assert [True] * SLOW.burst + [False] * 3 == [one.admitted for one in standings]
    assert (SLOW.burst - 1, 0) == (standings[0].remaining, standings[SLOW.burst - 1].remaining)
    last = standings[-1]
    assert (0, True) == (last.remaining, 0 < last.wait <= SLOW.step)
    assert SLOW.seconds - 5 < last.full_in <= SLOW.seconds


def test_subjects_and_limits_are_apart(process: Callable[[], Limiter]):
    """One that is used up takes nothing from another; a name that is no limit is none."""
    limiter = process()
    assert SLOW.burst == admitted(limiter, "slow", "greedy", SLOW.burst + 1)
    assert take(limiter, "slow", "other").admitted
    assert take(limiter, "quick", "greedy").admitted
    assert limiter.take("none", "greedy") is None


def test_processes_share_a_bucket(process: Callable[[], Limiter]):
    """In turns: all of the burst passes, and nothing beyond it, whatever each has leased."""
    both = [process(), process()]
    passed = Counter[int]()
    for turn in range(3 * SLOW.burst):
        passed[turn % 2] += take(both[turn % 2], "slow", "shared").admitted
    assert SLOW.burst == passed.total()
    assert min(passed.values()) > SLOW.burst // 4


def test_a_storm_stays_within_the_bound(process: Callable[[], Limiter]):
    """From six threads of three processes: the burst, what comes in by time, and an eighth of it a process at most."""
    limiters, passed, began = [process() for _ in range(3)], Counter[int](), time.monotonic()
    over = began + 1.5

    def hammer(number: int) -> None:
        while time.monotonic() < over:
            passed[number] += take(limiters[number % 3], "quick", "storm").admitted

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    least = QUICK.burst + 0.5 / QUICK.step
    most = QUICK.burst + (time.monotonic() - began) / QUICK.step + 3 * (QUICK.burst // SHARE)
    assert least <= passed.total() <= most


def test_what_is_not_spent_goes_back(process: Callable[[], Limiter]):
    """A process that ends leaves to the others all that it had leased."""
    first, second = process(), process()
    take(first, "slow", "left")
    first.close()
    assert SLOW.burst - 1 == admitted(second, "slow", "left", SLOW.burst + 5)
    assert not take(first, "slow", "left").admitted  # and it can be asked again


def test_what_nobody_wants_goes_back(db: Database):
    """After a while, though the process lives on."""
    now = [1_000.0]
    limiter, other = Limiter(Buckets(db), LIMITS, clock=lambda: now[0]), Limiter(Buckets(db), LIMITS)
    take(limiter, "slow", "idle")
    assert SLOW.burst - 1 > admitted(other, "slow", "idle", SLOW.burst)
    now[0] += 60
    deadline = time.monotonic() + 20
    while limiter._purses["slow:idle"].tokens:
        assert time.monotonic() < deadline, "the tokens were not given back"
        time.sleep(0.05)
    limiter.close()  # what it was giving back is back then
    other._purses.clear()
    assert take(other, "slow", "idle").admitted
    other.close()


def test_a_used_up_bucket_is_not_asked_about(process: Callable[[], Limiter]):
    """A flood that is refused costs no statement; and it is known without taking anything."""
    limiter = process()
    admitted(limiter, "slow", "flood", SLOW.burst + 1)
    source = limiter._source
    assert isinstance(source, Counted)
    before = source.asked
    assert 0 == admitted(limiter, "slow", "flood", 10_000)
    assert before == source.asked
    told = limiter.refused("slow", "flood")
    assert told is not None
    assert not told.admitted
    assert limiter.refused("slow", "nobody") is None


def test_many_requests_cost_few_statements(process: Callable[[], Limiter]):
    """An eighth of what there is comes with each lease."""
    limiter = process()
    for _ in range(20):
        take(limiter, "slow", "usual")
    source = limiter._source
    assert isinstance(source, Counted)
    assert source.asked <= 5


def test_a_clock_that_steps_back_locks_nobody_out(db: Database, process: Callable[[], Limiter]):
    """A bucket is never fuller of debt than a whole burst."""
    assert take(process(), "slow", "stepped").admitted
    with db.begin() as tx:
        tx.execute(text("UPDATE rate_buckets SET full_at = full_at + 1e7 WHERE key = 'slow:stepped'"))
    standing = take(process(), "slow", "stepped")
    assert (False, True) == (standing.admitted, standing.wait <= SLOW.step)


def test_full_buckets_are_forgotten(db: Database, process: Callable[[], Limiter]):
    """No row says the same as a full one; the others stay."""
    buckets = Buckets(db)
    admitted(process(), "slow", "kept", 20)
    buckets.take([Ask("x:full", 0.001, 1, 1)])
    time.sleep(0.01)
    buckets.forget_full()
    buckets.close()
    with db.begin() as tx:
        left = set(tx.execute(text("SELECT key FROM rate_buckets")).scalars())
    assert ("slow:kept" in left, "x:full" in left) == (True, False)


def test_without_the_database_a_process_goes_by_its_own(caplog: pytest.LogCaptureFixture):
    """As wide a bucket, in this process alone; nobody waits for long."""
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none")
    limiter = Limiter(Buckets(nowhere), LIMITS)
    assert SLOW.burst == admitted(limiter, "slow", "alone", SLOW.burst + 10)
    limiter.close()
    nowhere.close()
    assert "in this process alone" in caplog.text


def test_nothing_is_written_to_the_log(db: Database):
    """The table is unlogged: its rows are worth no write to disk."""
    with db.begin() as tx:
        kind = tx.execute(text("SELECT relpersistence FROM pg_class WHERE relname = 'rate_buckets'")).scalar_one()
    assert "u" == kind
