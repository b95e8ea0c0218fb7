"""Observing, ending, sweeping and billing at RunPod: absence needs proof, and one vendor's trouble is its own."""

from __future__ import annotations

import traceback
from datetime import timedelta
from decimal import Decimal

import pytest
from runpods import Pair, key_of, openapi, pair, provider_of

from mp_kit.errors import CredentialError, NotFoundError, ProviderError
from mp_kit.server.providers.base import Handle, Phase
from mp_kit.server.providers.runpod_failures import scrub
from mp_kit.server.providers.runpod_logs import Snapshot
from mp_kit.testing.fake_runpod import Fault


def phase(both: Pair, handle: Handle) -> Phase:
    """How a pod looks now."""
    return both.provider.observe([handle])[handle.ref].phase


STATUSES = [("EXITED", Phase.EXITED, "stopped"), ("ERROR", Phase.EXITED, "does not leave")]


@pytest.mark.parametrize(("status", "expected", "words"), STATUSES)
def test_statuses_in_trouble(runpod: Pair, status: str, expected: Phase, words: str):
    """A container that has stopped still has a pod; the host's last lines are in the detail."""
    handle = runpod.provider.launch(runpod.order())
    runpod.fake.say(handle.ref, "error pulling image: manifest unknown", source="system")
    runpod.fake.end(handle.ref, status)
    seen = runpod.provider.observe([handle])[handle.ref]
    assert expected is seen.phase
    assert words in seen.detail
    assert "manifest unknown" in seen.detail


def test_life_of_a_pod(runpod: Pair):
    """Starting, running; gone some seconds after it has vanished."""
    handle = runpod.provider.launch(runpod.order())
    assert Phase.STARTING is phase(runpod, handle)
    runpod.fake.clock.advance(3)
    assert Phase.RUNNING is phase(runpod, handle)
    runpod.fake.end(handle.ref)
    assert Phase.UNKNOWN is phase(runpod, handle)
    runpod.fake.clock.advance(6)
    assert Phase.GONE is phase(runpod, handle)


HIDING = [Fault.HIDDEN, Fault.HIDDEN_FROM_LIST, Fault.HIDDEN_FROM_GET]


@pytest.mark.parametrize("fault", HIDING)
def test_new_pod_that_hides_is_not_gone(runpod: Pair, fault: Fault):
    """A pod that reads 404 or is not listed while it is new is never called gone."""
    runpod.fake.faults.next("create", fault, seconds=90.0)
    handle = runpod.provider.launch(runpod.order())
    for _ in range(12):
        assert phase(runpod, handle) in {Phase.STARTING, Phase.RUNNING}
        runpod.fake.clock.advance(9)
    assert Phase.RUNNING is phase(runpod, handle)


def test_gone_for_a_process_that_never_saw_it(runpod: Pair):
    """After a restart absence counts from the settling time on."""
    handle = runpod.provider.launch(runpod.order())
    runpod.fake.end(handle.ref)
    successor = Pair(runpod.fake, provider_of(runpod.fake))
    runpod.fake.clock.advance(119)
    assert Phase.STARTING is phase(successor, handle)
    runpod.fake.clock.advance(2)
    assert Phase.GONE is phase(successor, handle)
    successor.provider.close()


def test_missing_in_the_list_only_is_not_gone(runpod: Pair):
    """The pod itself is asked for before it is called gone."""
    runpod.fake.faults.next("create", Fault.HIDDEN_FROM_LIST, seconds=1_000.0)
    handle = runpod.provider.launch(runpod.order())
    runpod.fake.clock.advance(500)
    assert Phase.RUNNING is phase(runpod, handle)


def test_lookup_without_answer_is_unknown(runpod: Pair):
    """An absent pod whose lookup fails is neither there nor gone."""
    handle = runpod.provider.launch(runpod.order())
    runpod.fake.end(handle.ref)
    runpod.fake.clock.advance(500)
    runpod.fake.faults.next("get", Fault.SERVER_ERROR, times=3)
    assert Phase.UNKNOWN is phase(runpod, handle)
    assert Phase.GONE is phase(runpod, handle)


def test_one_list_call_per_vendor(runpod: Pair):
    """However many pods there are."""
    handles = [runpod.provider.launch(runpod.order(f"run_{number}")) for number in range(5)]
    handles.append(runpod.provider.launch(runpod.order("run_b", vendor_id="vnd_b")))
    before = len(runpod.asked("list"))
    assert {Phase.STARTING} == {seen.phase for seen in runpod.provider.observe(handles).values()}
    assert 2 == len(runpod.asked("list")) - before


def test_vendor_that_cannot_be_listed_is_alone(runpod: Pair):
    """A vendor without a key leaves only its own pods unknown."""
    handle = runpod.provider.launch(runpod.order())
    foreign = Handle("pod_x", "vnd_x")
    seen = runpod.provider.observe([foreign, handle])
    assert (Phase.UNKNOWN, Phase.STARTING) == (seen["pod_x"].phase, seen[handle.ref].phase)
    assert "not connected" in seen["pod_x"].detail


def test_list_without_answer_is_unknown(runpod: Pair):
    """No answer is no absence, however old the pod is."""
    handle = runpod.provider.launch(runpod.order())
    runpod.fake.clock.advance(1_000)
    runpod.fake.faults.next("list", Fault.NO_JSON, times=3)
    assert Phase.UNKNOWN is phase(runpod, handle)


def test_observe_nothing(runpod: Pair):
    """No handles, no request."""
    assert {} == runpod.provider.observe([])
    assert [] == runpod.fake.requests


def test_terminate(runpod: Pair):
    """A deleted pod is gone; deleting it again is no error."""
    handle = runpod.provider.launch(runpod.order())
    runpod.provider.terminate(handle)
    runpod.provider.terminate(handle)
    assert [] == runpod.alive()


DELETES = [Fault.SERVER_ERROR, Fault.DELETE_404, Fault.NO_JSON]


@pytest.mark.parametrize("fault", DELETES)
def test_terminate_by_action(runpod: Pair, fault: Fault):
    """What DELETE does not do, or wrongly denies, the action does."""
    handle = runpod.provider.launch(runpod.order())
    runpod.fake.faults.always("delete", fault)
    runpod.provider.terminate(handle)
    assert [] == runpod.alive()


def test_terminate_that_fails_is_told(runpod: Pair):
    """A pod that cannot be ended is an error, so that it is tried again."""
    handle = runpod.provider.launch(runpod.order())
    runpod.fake.faults.always("*", Fault.SERVER_ERROR)
    with pytest.raises(ProviderError):
        runpod.provider.terminate(handle)
    runpod.fake.faults.clear()
    assert [handle.ref] == runpod.alive()


def test_deleted_pod_that_lingers_is_not_gone(runpod: Pair):
    """DELETE is not the end; what the list shows is."""
    handle = runpod.provider.launch(runpod.order())
    runpod.fake.clock.advance(200)
    runpod.fake.faults.next("delete", Fault.DELETE_LINGERS, seconds=30.0)
    runpod.provider.terminate(handle)
    assert Phase.RUNNING is phase(runpod, handle)
    runpod.fake.clock.advance(31)
    assert Phase.GONE is phase(runpod, handle)


def test_mine_leaves_foreign_pods_out(runpod: Pair):
    """Only names with this marketplace's prefix, a run and an attempt count."""
    handle = runpod.provider.launch(runpod.order("run_1", 2))
    runpod.fake.faults.next("list", Fault.SERVER_ERROR, times=3)
    with pytest.raises(ProviderError):
        runpod.provider.mine("vnd_a")
    other = provider_of(runpod.fake, prefix="mp")
    other.launch(runpod.order("run_9", 1))
    (found,) = runpod.provider.mine("vnd_a")
    assert ("run_1", 2, handle.ref) == (found.run_id, found.attempt, found.handle.ref)
    assert handle.price_per_hour == found.handle.price_per_hour
    assert [] == list(runpod.provider.mine("vnd_b"))
    runpod.provider.terminate(found.handle)
    assert [] == list(runpod.provider.mine("vnd_a"))
    other.close()


def test_billed_equals_the_bill(runpod: Pair):
    """Each pod's bill to the last digit; a pod without one is missing."""
    since = runpod.fake.clock.now()
    handles = [runpod.provider.launch(runpod.order(f"run_{number}")) for number in range(2)]
    runpod.fake.clock.advance(4_000)
    runpod.provider.terminate(handles[0])
    runpod.fake.clock.advance(2_000)
    stranger = Handle("pod_unknown", "vnd_a")
    billed = runpod.provider.billed([*handles, stranger], since)
    bill = runpod.fake.billing()
    assert {handle.ref for handle in handles} == set(billed)
    for ref, amount in billed.items():
        assert isinstance(amount, Decimal)
        assert abs(bill[ref] - amount) < Decimal("0.000001")


def test_billed_over_a_week_goes_by_days(runpod: Pair):
    """A long period is asked for in larger pieces."""
    runpod.provider.launch(runpod.order())
    runpod.provider.billed([Handle("pod_x", "vnd_a")], runpod.fake.clock.now() - timedelta(days=8))
    assert "day" == runpod.asked("billing")[0].query["bucketSize"]
    assert {"startTime", "endTime"} < set(runpod.asked("billing")[0].query)


def test_logs_resume(runpod: Pair):
    """Lines since the last known event, and none of the others."""
    handle = runpod.provider.launch(runpod.order())
    runpod.fake.clock.advance(10)
    runpod.fake.say(handle.ref, "epoch 1")
    first = runpod.provider.logs(handle, seconds=0.5)
    assert "epoch 1" == first[-1].text
    runpod.fake.clock.advance(1)
    runpod.fake.say(handle.ref, "epoch 2")
    assert ["epoch 2"] == [event.text for event in runpod.provider.logs(handle, after=first[-1].id, seconds=0.5)]


LOG_FAULTS = [(Fault.SSE_SILENT, 0), (Fault.SSE_CUT, 1)]


@pytest.mark.parametrize(("fault", "lines"), LOG_FAULTS)
def test_logs_end_by_themselves(runpod: Pair, fault: Fault, lines: int):
    """A stream that says nothing, or is cut, ends the reading; what came counts."""
    handle = runpod.provider.launch(runpod.order())
    runpod.fake.say(handle.ref, "epoch 1")
    runpod.fake.say(handle.ref, "epoch 2")
    runpod.fake.faults.next("logs", fault)
    assert lines == len(runpod.provider.logs(handle, seconds=0.3))


def test_lines_that_cannot_be_stored_are_mended():
    """A job may print any byte: its lines reach histories, pages and JSON."""
    mended = "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"
    snapshot = Snapshot(1)
    snapshot.take([b'data: {"line": "a\\u0000b\\ud800c"}\n\n', b"data: a\x00\n\n"])
    assert [mended, "a\N{REPLACEMENT CHARACTER}"] == [event.text for event in snapshot.events]
    assert mended == scrub("a\x00b\ud800c", [])


def test_logs_of_nothing(runpod: Pair):
    """A pod that is not there has no log."""
    with pytest.raises(NotFoundError):
        runpod.provider.logs(Handle("pod_x", "vnd_a"), seconds=0.3)


def test_a_provider_shows_no_key():
    """Neither the provider nor an error shows a key; a vendor without one is told so."""
    with pair() as both:
        assert "rp-key" not in repr(both.provider)
        both.fake.faults.always("*", Fault.SERVER_ERROR)
        with pytest.raises(ProviderError) as caught:
            both.provider.mine("vnd_a")
        assert "rp-key" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(CredentialError):
        key_of("vnd_x")


def test_requests_fit_the_openapi_document():
    """Every kind of request, against RunPod's own document where this machine has it."""
    if openapi() is None:
        pytest.skip("no RunPod OpenAPI document at ../shared/facts")
    with pair(community=True, places=["EU-RO-1"]) as both:
        handle = both.provider.launch(both.order(max_cost_usd=50.0))
        both.provider.observe([handle])
        both.provider.logs(handle, seconds=0.2)
        both.provider.billed([handle], both.fake.clock.now() - timedelta(hours=1))
        both.fake.faults.next("delete", Fault.SERVER_ERROR, times=3)
        both.provider.terminate(handle)
        asked = {request.operation for request in both.fake.requests}
        assert {"create", "list", "catalog", "billing", "logs", "delete", "action"} <= asked
        both.fake.violations.check()
