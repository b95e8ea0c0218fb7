"""``GET /v2/billing/pods``: the history in buckets, from the same timeline that everything else is told from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mp_kit.testing.fake_runpod.logs import stamp
from mp_kit.testing.fake_runpod.pods import Amounts, Pod
from mp_kit.testing.fake_runpod.replies import Reply, ok, problem

if TYPE_CHECKING:
    from mp_kit.testing.fake_runpod.api import Call
    from mp_kit.testing.fake_runpod.cloud import Cloud

__all__ = ["pod_bill"]

_BUCKETS = {"hour": 3_600, "day": 86_400, "week": 604_800, "month": 2_592_000, "year": 31_536_000}
_MAX_BUCKETS = 10_000


def pod_bill(cloud: Cloud, call: Call) -> Reply:
    """The records of an account's pods, one per pod and bucket in which it cost anything."""
    span = _span(cloud.clock.now(), call)
    if isinstance(span, Reply):
        return span
    start, end, size = span
    pods = [pod for pod in cloud.pods.values() if pod.owner == call.owner]
    wanted = [pod for pod in pods if call.query.get("podId") in (None, pod.id)]
    records = [record for pod in wanted for record in _records(pod, start, end, size, cloud.clock.now())]
    return ok({"records": records, "metadata": _metadata(records, start, end, call)})


def _span(now: datetime, call: Call) -> tuple[datetime, datetime, int] | Reply:
    query = call.query
    name = query.get("bucketSize", "day")
    if name not in _BUCKETS:
        return problem(400, "bucketSize must be one of hour, day, week, month, year")
    size = _BUCKETS[name]
    if "startTime" in query and "endTime" not in query:
        return problem(400, "endTime is required with startTime")  # seen live
    try:
        end = _instant(query["endTime"]) if "endTime" in query else now
        start = _instant(query["startTime"]) if "startTime" in query else _floor(end, size, query.get("lastN", "30"))
    except ValueError:
        return problem(400, "startTime, endTime and lastN must be instants and a number")
    if (end - start).total_seconds() / size > _MAX_BUCKETS:
        return problem(400, "the range has too many buckets")
    return start, end, size


def _floor(end: datetime, size: int, last: str) -> datetime:
    begin = datetime.fromtimestamp(end.timestamp() // size * size, UTC)
    return begin - timedelta(seconds=size * (int(last) - 1))


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _records(pod: Pod, start: datetime, end: datetime, size: int, now: datetime) -> list[dict[str, Any]]:
    first = max(start, pod.created_at).timestamp() // size * size
    last = min(end, pod.ended_at(now) or now).timestamp()
    records = []
    while first <= last:
        begin, until = (datetime.fromtimestamp(at, UTC) for at in (first, first + size))
        amounts = _between(pod, max(begin, start), min(until, end, now))
        if amounts.total:
            records.append({"startTime": stamp(begin), "endTime": stamp(until), "podId": pod.id} | _told(pod, amounts))
        first += size
    return records


def _between(pod: Pod, begin: datetime, until: datetime) -> Amounts:
    return pod.cost(until, since=begin) if begin < until else Amounts()


def _told(pod: Pod, amounts: Amounts) -> dict[str, float]:
    machine, disk = round(float(amounts.machine), 9), round(float(amounts.disk), 9)
    is_gpu = "gpu" in pod.spec
    return {
        "totalAmount": round(machine + disk, 9),
        "gpuAmount": machine if is_gpu else 0.0,
        "cpuAmount": 0.0 if is_gpu else machine,
        "diskAmount": disk,
    }


def _metadata(records: list[dict[str, Any]], start: datetime, end: datetime, call: Call) -> dict[str, Any]:
    names = ("totalAmount", "gpuAmount", "cpuAmount", "diskAmount")
    query = {"startTime": stamp(start), "endTime": stamp(end), "bucketSize": call.query.get("bucketSize", "day")}
    return {
        "query": query | {"podId": call.query.get("podId")},
        "recordCount": len(records),
        "uniquePodCount": len({record["podId"] for record in records}),
        "totals": {name: round(sum(record[name] for record in records), 9) for name in names},
    }
