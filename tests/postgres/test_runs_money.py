"""Money: ceilings, the ledger, bills, the sweep, and the arrows that the table itself keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from desks import publish
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mp_kit.contracts.training import TrainingRequest
from mp_kit.errors import BudgetError, ProviderError
from mp_kit.server.house import House
from mp_kit.server.providers.base import Found, Handle
from mp_kit.server.services import connections, figures, money, runs, strays, vendors
from mp_kit.server.services import runs_claims as claims
from mp_kit.server.services.runs_claims import Claimed
from mp_kit.server.services.runs_states import FINAL, TRANSITIONS, State, Step
from mp_kit.server.store import ledger
from mp_kit.server.store import runs as rows

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class Account:
    """A provider's account: machines that are there, and bills."""

    def __init__(self, *found: Found, bills: Mapping[str, Decimal] | None = None) -> None:
        self.found = list(found)
        self.bills = dict(bills or {})
        self.ended: list[str] = []
        self.is_down = False

    def mine(self, vendor_id: str) -> Sequence[Found]:
        """What is there of a vendor."""
        self._answer()
        return [each for each in self.found if each.handle.vendor_id == vendor_id]

    def terminate(self, handle: Handle) -> None:
        """Ends a machine."""
        self.ended.append(handle.ref)

    def billed(self, handles: Sequence[Handle], since: datetime) -> Mapping[str, Decimal]:
        """The bills of these handles."""
        self._answer()
        assert since < NOW
        return {handle.ref: self.bills[handle.ref] for handle in handles if handle.ref in self.bills}

    def _answer(self) -> None:
        if self.is_down:
            message = "no answer"
            raise ProviderError(message)


@pytest.fixture(scope="module", autouse=True)
def _round(house: House) -> None:
    """A current round without files."""
    with house.db.begin() as tx:
        publish(tx, "rnd", current=True)


@pytest.fixture
def vendor(house: House, request: pytest.FixtureRequest) -> str:
    """A new vendor."""
    with house.db.begin() as tx:
        return vendors.create(tx, house.tokens, request.node.name[:60], actor="test").vendor_id


def order(house: House, vendor: str, *, usd: float | None = None, key: str | None = None) -> str:
    body: dict[str, Any] = {"round_id": "current", "task": "signal", "provider": "runpod"}
    request = TrainingRequest.model_validate(body | {"budget": {"max_cost_usd": usd} if usd else {}})
    with house.db.begin() as tx:
        return runs.create(tx, vendor, request, idempotency_key=key, now=NOW, providers={"runpod"}).run_id


def started(house: House, run_id: str, ref: str, price: float, *, at: datetime = NOW) -> Claimed:
    """Claims a queued run, makes it launching, and gives it a machine."""
    with house.db.begin() as tx:
        rows.wake(tx, run_id)
    with house.db.begin() as tx:
        (run,) = (each for each in claims.claim(tx, providers={"runpod"}) if each.run_id == run_id)
        after = claims.apply(tx, run_id, run.lock_token, Step(letter="a"), at)
        assert after is not None
        claims.record_handle(tx, after, Handle(ref, run.vendor_id, price), at)
    return after


def ended(house: House, run: Claimed, at: datetime) -> Any:
    with house.db.begin() as tx:
        claims.apply(tx, run.run_id, run.lock_token, Step(letter="g", failure="gone"), at)
        return rows.find(tx, run.run_id)


def set_ceiling(house: House, vendor: str, usd: str) -> None:
    with house.db.begin() as tx:
        money.set_ceiling(tx, vendor, Decimal(usd), actor="test")


def machine(vendor: str, run_id: str, ref: str, *, attempt: int = 1, age: timedelta = timedelta(hours=1)) -> Found:
    return Found(Handle(ref, vendor, 2.0), run_id, attempt, NOW - age)


def test_ceiling_refuses_what_could_go_above_it(house: House, vendor: str):
    """Reservations of open runs count in full; the refused order leaves nothing behind."""
    set_ceiling(house, vendor, "30")
    order(house, vendor, usd=20, key="first")
    with pytest.raises(BudgetError, match=r"\$45.00 would be spent or reserved this month; your ceiling is \$30.00"):
        order(house, vendor)
    with house.db.begin() as tx:
        assert len(runs.list_runs(tx, vendor)[0]) == 1
    order(house, vendor, usd=20, key="first")
    order(house, vendor, usd=10)


def test_ended_runs_give_back_what_they_did_not_spend(house: House, vendor: str):
    """Of a run that is over only its cost counts."""
    set_ceiling(house, vendor, "30")
    run = started(house, order(house, vendor, usd=30), "pod-back", 2.0)
    row = ended(house, run, NOW + timedelta(minutes=30))
    assert row.cost_usd == Decimal("1.0000")
    with pytest.raises(BudgetError, match=r"\$31.00"):
        order(house, vendor, usd=30)
    order(house, vendor, usd=29)


def test_price_above_the_quote_shortens_the_hours(house: House, vendor: str):
    """The deadline is where the money ends, at the price that is really charged."""
    run = started(house, order(house, vendor, usd=3), "pod-dear", 2.0)
    with house.db.begin() as tx:
        row = rows.find(tx, run.run_id)
    assert row is not None
    assert row.deadline_at == NOW + timedelta(hours=1.5)


def test_later_attempt_gets_what_is_left(house: House, vendor: str):
    """Money and hours of the first machine are taken from the second."""
    run = started(house, order(house, vendor, usd=10), "pod-1", 2.0)
    later = NOW + timedelta(hours=1)
    with house.db.begin() as tx:
        assert claims.apply(tx, run.run_id, run.lock_token, Step(letter="c"), later)
        claims.release(tx, run, 0)
    started(house, run.run_id, "pod-2", 2.0, at=later)
    with house.db.begin() as tx:
        row = rows.find(tx, run.run_id)
    assert row is not None
    assert (row.provider_data["spent_usd"], row.provider_data["left_usd"]) == (2.0, 8.0)
    assert row.deadline_at == later + timedelta(hours=money.DEFAULT_HOURS - 1)


def test_bills_replace_estimates(house: House, vendor: str):
    """From a day after its end on the run's cost is the provider's figure; asking again changes nothing."""
    run = started(house, order(house, vendor), "pod-bill", 2.0, at=NOW - timedelta(hours=1))
    assert ended(house, run, NOW).cost_usd == Decimal("2.0000")
    account = Account(bills={"pod-bill": Decimal("1.9375")})
    assert strays.reconcile(house.db, {"runpod": account}, now=NOW + DAY) == 1
    strays.reconcile(house.db, {"runpod": account}, now=NOW + DAY)
    with house.db.begin() as tx:
        row = rows.find(tx, run.run_id)
    assert row is not None
    assert row.cost_usd == Decimal("1.9375")


def test_bill_of_the_first_hours_frees_no_budget(house: House, vendor: str):
    """Bills come by hours that are over: what a machine's last hour cost is spent, though no bill says so yet."""
    ended_at = NOW - timedelta(minutes=30)
    run = started(house, order(house, vendor, usd=12), "pod-part", 3.0, at=ended_at - timedelta(hours=1.5))
    with house.db.begin() as tx:
        ledger.close_machines(tx, run.run_id, ended_at)
    strays.reconcile(house.db, {"runpod": Account(bills={"pod-part": Decimal("3.00")})}, now=NOW)
    with house.db.begin() as tx:
        left = money.left(tx, run.run_id, max_hours=24, max_cost_usd=12, now=NOW)
        (figure,) = (row for row in figures.machines(tx, NOW - DAY) if row["run"] == run.run_id)
    assert (left.usd, left.spent_usd) == (7.5, 4.5)
    assert (figure["billed"], figure["usd"]) == (False, 4.5)
    strays.reconcile(house.db, {"runpod": Account(bills={"pod-part": Decimal("4.40")})}, now=NOW + DAY)
    with house.db.begin() as tx:
        assert ledger.cost(tx, run.run_id, NOW + DAY) == Decimal("4.40")


def test_bill_of_the_first_minutes_frees_no_ceiling(house: House, vendor: str):
    """An order that fits beside a partial bill alone is refused."""
    set_ceiling(house, vendor, "10")
    run = started(house, order(house, vendor, usd=5), "pod-cents", 4.5, at=NOW - timedelta(hours=1))
    assert ended(house, run, NOW).cost_usd == Decimal("4.5000")
    strays.reconcile(house.db, {"runpod": Account(bills={"pod-cents": Decimal("0.05")})}, now=NOW)
    with pytest.raises(BudgetError, match=r"\$10.50 would be spent"):
        order(house, vendor, usd=6)
    order(house, vendor, usd=5)


def test_bill_above_the_estimate_counts_at_once(house: House, vendor: str):
    """What is billed is spent, whatever it will be in the end."""
    run = started(house, order(house, vendor), "pod-more", 2.0, at=NOW - timedelta(hours=1))
    ended(house, run, NOW)
    strays.reconcile(house.db, {"runpod": Account(bills={"pod-more": Decimal("2.25")})}, now=NOW)
    with house.db.begin() as tx:
        assert rows.find(tx, run.run_id).cost_usd == Decimal("2.2500")


def test_silent_biller_leaves_the_estimate(house: House, vendor: str):
    """No answer is no bill: the estimate stays, and it is asked again."""
    run = started(house, order(house, vendor), "pod-silent", 2.0, at=NOW - timedelta(hours=1))
    ended(house, run, NOW)
    account = Account(bills={"pod-silent": Decimal(1)})
    account.is_down = True
    assert strays.reconcile(house.db, {"runpod": account}, now=NOW) == 0
    account.is_down = False
    assert strays.reconcile(house.db, {"runpod": account}, now=NOW) == 1


def test_bills_that_never_come_hold_up_no_other(house: House, vendor: str, monkeypatch: pytest.MonkeyPatch):
    """As many as are asked about at once are left unanswered; the next pass asks about those behind them."""
    monkeypatch.setattr(strays, "_BILLS", 2)
    at = NOW - timedelta(hours=1)
    with house.db.begin() as tx:
        tx.execute(text("UPDATE run_machines SET billed_at = until + interval '2 days'"))  # those of the other tests
        other = vendors.create(tx, house.tokens, "with a silent account", actor="test").vendor_id
    for n in range(3):
        ended(house, started(house, order(house, other), f"pod-mute-{n}", 2.0, at=at), NOW - timedelta(minutes=1))
    ended(house, started(house, order(house, vendor), "pod-heard", 2.0, at=at), NOW)
    account = Account(bills={"pod-heard": Decimal(1)})
    passes = [strays.reconcile(house.db, {"runpod": account}, now=NOW + n * timedelta(minutes=5)) for n in range(2)]
    assert [0, 1] == passes


def test_sweep_ends_strays_and_nothing_else(house: House, vendor: str):
    """A machine of an ended run, one of no run, one of a former attempt; the run's own machine stays."""
    alive = started(house, order(house, vendor), "pod-alive", 2.0)
    over = started(house, order(house, vendor), "pod-over", 2.0)
    ended(house, over, NOW)
    account = Account(
        machine(vendor, alive.run_id, "pod-alive"),
        machine(vendor, alive.run_id, "pod-twin"),
        machine(vendor, over.run_id, "pod-over"),
        machine(vendor, "run_unknown", "pod-unknown"),
        machine(vendor, over.run_id, "pod-young", age=timedelta(seconds=30)),
    )
    looked = strays.sweep(house.db, {"runpod": account}, [("runpod", vendor)], now=NOW, dry_run=True)
    assert (looked.seen, len(looked.strays), account.ended) == (5, 3, [])
    done = strays.sweep(house.db, {"runpod": account}, [("runpod", vendor)], now=NOW)
    assert account.ended == ["pod-twin", "pod-over", "pod-unknown"]
    assert [stray.because for stray in done.strays] == [
        "Its run has another machine.",
        "Its run is failed.",
        "No run of this marketplace is called so.",
    ]
    assert all(stray.ended for stray in done.strays)


def test_sweep_enters_what_it_ended_into_the_ledger(house: House, vendor: str):
    """The twin's hours cost the run money, and its bill will be asked for."""
    run = started(house, order(house, vendor), "pod-first", 2.0)
    ended(house, run, NOW)
    account = Account(machine(vendor, run.run_id, "pod-second"), bills={"pod-second": Decimal("1.75")})
    strays.sweep(house.db, {"runpod": account}, [("runpod", vendor)], now=NOW)
    with house.db.begin() as tx:
        row = rows.find(tx, run.run_id)
        assert {each.ref for each in ledger.of_run(tx, run.run_id)} == {"pod-first", "pod-second"}
    assert row is not None
    assert row.cost_usd == Decimal("2.0000")
    strays.reconcile(house.db, {"runpod": account}, now=NOW + DAY)
    with house.db.begin() as tx:
        assert ledger.cost(tx, run.run_id, NOW) == Decimal("1.75")


def test_stranger_charges_nobody_elses_run(house: House, vendor: str):
    """A pod that bears the name of another vendor's run is ended, and costs that run nothing."""
    run = started(house, order(house, vendor), "pod-mine", 2.0, at=NOW - timedelta(hours=1))
    ended(house, run, NOW)
    with house.db.begin() as tx:
        stranger = vendors.create(tx, house.tokens, "a stranger", actor="test").vendor_id
    account = Account(machine(stranger, run.run_id, "pod-forged"), bills={"pod-forged": Decimal(99)})
    report = strays.sweep(house.db, {"runpod": account}, [("runpod", stranger)], now=NOW)
    assert (["pod-forged"], [True]) == (account.ended, [stray.ended for stray in report.strays])
    strays.reconcile(house.db, {"runpod": account}, now=NOW + DAY)
    with house.db.begin() as tx:
        assert ["pod-mine"] == [each.ref for each in ledger.of_run(tx, run.run_id)]
        assert rows.find(tx, run.run_id).cost_usd == Decimal("2.0000")


def test_account_without_a_key_is_looked_at_while_something_is_open(house: House, vendor: str):
    """Whoever has taken the connection away, or was erased, turns no sweep red for ever."""

    def is_looked_at() -> bool:
        with house.db.begin() as tx:
            return ("runpod", vendor) in strays.accounts_of(tx, {"runpod"})

    run = started(house, order(house, vendor), "pod-keyless", 2.0)
    assert is_looked_at()
    ended(house, run, NOW)
    assert not is_looked_at()
    with house.db.begin() as tx:
        tx.execute(text("UPDATE run_machines SET until = NULL WHERE ref = 'pod-keyless'"))
    assert is_looked_at()
    with house.db.begin() as tx:
        ledger.close_machines(tx, run.run_id, NOW)
        connections.put(tx, house.vault, vendor, "runpod", SecretStr("rpa_0123456789abcdefghij"), actor="test")
    assert is_looked_at()
    with house.db.begin() as tx:
        connections.remove(tx, vendor, "runpod", actor="test")
    assert not is_looked_at()


def test_sweep_goes_on_past_an_account_that_does_not_answer(house: House, vendor: str):
    """What could not be looked at is named."""
    account = Account()
    account.is_down = True
    order(house, vendor)
    with house.db.begin() as tx:
        accounts = [each for each in strays.accounts_of(tx, {"runpod"}) if each[1] == vendor]
    report = strays.sweep(house.db, {"runpod": account}, accounts, now=NOW)
    assert report.unreachable == [f"runpod/{vendor}: no answer"]


@pytest.mark.parametrize(
    ("state", "changes", "because"),
    [
        ("running", {}, None),
        ("running", {"deadline_at": NOW - strays.SWEEP_GRACE}, None),
        ("running", {"deadline_at": NOW - strays.SWEEP_GRACE - timedelta(seconds=1)}, "Its budget is used up."),
        ("launching", {"provider_ref": None}, None),
        ("queued", {"provider_ref": None}, "Its launch was given up."),
        ("running", {"attempt": 2}, "Its launch was given up."),
        ("running", {"vendor_id": "another"}, "No run of this marketplace is called so."),
        ("cancelled", {}, "Its run is cancelled."),
    ],
)
def test_stray_because(state: str, changes: dict[str, Any], because: str | None):
    """The judgement, case by case."""
    facts = {"state": state, "attempt": 1, "provider_ref": "pod", "deadline_at": NOW, "vendor_id": "ven"}
    run: Any = SimpleNamespace(**{**facts, **changes})
    assert strays.stray_because(machine("ven", "run", "pod"), run, NOW) == because


def test_worst_case_rounds_up():
    """An estimate never promises a cent too little."""
    assert money.worst_case(Decimal("0.69"), 1.5) == Decimal("1.04")
    assert money.worst_case(Decimal(0), 4.0) == Decimal(0)


def test_table_keeps_the_arrows(house: House, vendor: str):
    """Of all pairs of states the database takes those of TRANSITIONS, and no other."""
    drawn = {(leaf, arrow.to) for arrow in TRANSITIONS.values() for leaf in arrow.leaves}
    run_id = order(house, vendor)
    taken = {pair for pair in product(State, State) if pair[0] is not pair[1] and _takes(house, run_id, *pair)}
    assert taken == drawn


def _takes(house: House, run_id: str, before: State, after: State) -> bool:
    """Whether a run may go from one state to the other by plain SQL; always rolled back."""

    def set_state(tx: Any, state: State) -> None:
        values = {"state": state.value, "at": NOW if state in FINAL else None, "id": run_id}
        tx.execute(text("UPDATE training_runs SET state = :state, finished_at = :at WHERE id = :id"), values)

    with house.db.begin() as tx:
        trial = tx.begin_nested()
        tx.execute(text("ALTER TABLE training_runs DISABLE TRIGGER training_runs_move"))
        set_state(tx, before)
        tx.execute(text("ALTER TABLE training_runs ENABLE TRIGGER training_runs_move"))
        try:
            set_state(tx, after)
        except DBAPIError:
            return False
        finally:
            trial.rollback()
    return True
