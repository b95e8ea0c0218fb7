from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

import httpx
import pytest
import runpod_orders
from runpod_orders import order

from mp_kit.testing.fake_runpod import FakeRunPod, Fault


@pytest.fixture
def pod(fake: FakeRunPod, api: httpx.Client) -> str:
    """A running pod with three lines of its own."""
    pod_id = str(api.post("/pods", json=order()).json()["id"])
    fake.clock.advance(20)
    for line in ("one", "two", "three"):
        fake.say(pod_id, line)
    return pod_id


def read(
    api: httpx.Client, pod_id: str, *, lines: int, after: str = "", patience: float = 10.0, **query: str | int
) -> list[tuple[str, str, str]]:
    """The first lines of a stream: id, source, text; fewer if it ends before."""
    found: list[tuple[str, str, str]] = []
    headers = {"Last-Event-ID": after} if after else {}
    with (
        contextlib.suppress(httpx.ReadTimeout, httpx.RemoteProtocolError),
        api.stream("GET", f"/pods/{pod_id}/logs", params=query, headers=headers, timeout=patience) as answer,
    ):
        for event in events(answer.iter_lines()):
            found.append(event)
            if len(found) == lines:
                break
    return found


def events(lines: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    """The events of a stream."""
    event_id = ""
    for line in lines:
        if line.startswith("id: "):
            event_id = line[4:]
        elif line.startswith("data: "):
            data = json.loads(line[6:])
            yield event_id, data["source"], data["line"]


def texts(found: list[tuple[str, str, str]]) -> list[str]:
    """The lines alone."""
    return [text for _, _, text in found]


def test_both_sources_in_order(api: httpx.Client, pod: str) -> None:
    """The system's lines of the pull first."""
    found = read(api, pod, lines=7)
    assert ["system"] * 4 + ["container"] * 3 == [source for _, source, _ in found]
    assert ["one", "two", "three"] == texts(found)[4:]


def test_source_tail_and_since(fake: FakeRunPod, api: httpx.Client, pod: str) -> None:
    """Narrow the stream."""
    assert ["two", "three"] == texts(read(api, pod, lines=2, source="container", tail=2))
    fake.clock.advance(5)
    now = fake.clock.now().isoformat()
    fake.say(pod, "four")
    assert ["four"] == texts(read(api, pod, lines=1, since=now))
    assert [] == read(api, pod, lines=1, patience=0.3, tail=0)
    fake.violations.check()


@pytest.mark.parametrize("query", [{"source": "all"}, {"tail": 5_001}, {"tail": "x"}])
def test_wrong_parameters_are_422(api: httpx.Client, pod: str, query: dict[str, object]) -> None:
    """As the contract bounds them."""
    assert 422 == api.get(f"/pods/{pod}/logs", params=query).status_code


def test_resume_gives_each_line_once(fake: FakeRunPod, api: httpx.Client, pod: str) -> None:
    """A stream that is cut after every other line, resumed by the id of the last event."""
    fake.faults.always("logs", Fault.SSE_CUT, count=2)
    found: list[tuple[str, str, str]] = []
    while len(found) < 7:
        found += read(api, pod, lines=7 - len(found), after=found[-1][0] if found else "")
    assert ["one", "two", "three"] == texts(found)[4:]
    assert 7 == len({event_id for event_id, _, _ in found})


def test_a_line_reaches_an_open_stream(fake: FakeRunPod, api: httpx.Client, pod: str) -> None:
    """Without a second request."""
    threading.Timer(0.1, fake.say, (pod, "late")).start()
    assert ["late"] == texts(read(api, pod, lines=1, tail=0))


def test_silent_stream_says_nothing_and_stays_open(fake: FakeRunPod, api: httpx.Client, pod: str) -> None:
    """Only the client's own bound ends it."""
    fake.faults.next("logs", Fault.SSE_SILENT)
    with pytest.raises(httpx.ReadTimeout), api.stream("GET", f"/pods/{pod}/logs", timeout=0.2) as answer:
        list(answer.iter_lines())


def test_stream_that_repeats(fake: FakeRunPod, api: httpx.Client, pod: str) -> None:
    """Lines come twice, and old ones again after a resume; their ids tell."""
    fake.faults.always("logs", Fault.SSE_REPEATS)
    found = read(api, pod, lines=4, source="container", tail=3)
    assert ["one", "one", "two", "two"] == texts(found)[-4:]
    assert found[0][0] == found[1][0]
    assert ["one", "one", "two", "two", "three"] == texts(read(api, pod, lines=5, after=found[3][0]))


def test_stream_ends_with_its_pod(fake: FakeRunPod, api: httpx.Client, pod: str) -> None:
    """And is 404 from then on."""
    threading.Timer(0.1, fake.end, (pod,)).start()
    assert "system" == read(api, pod, lines=99, tail=0)[-1][1]
    assert 404 == api.get(f"/pods/{pod}/logs").status_code
    assert "system: remove container" == fake.logs(pod)[-1]


def test_others_logs_are_404(fake: FakeRunPod, pod: str) -> None:
    """An account reads its own pods only."""
    with runpod_orders.client(fake, "other") as other:
        assert 404 == other.get(f"/pods/{pod}/logs").status_code
