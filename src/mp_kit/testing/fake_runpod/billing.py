"""``GET /v2/billing/pods`` and ``/serverless``: the history in buckets, told from the pods' timelines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mp_kit.testing.fake_runpod.logs import stamp
from mp_kit.testing.fake_runpod.pods import Amounts, Pod
from mp_kit.testing.fake_runpod.replies import Reply, ok, problem

if TYPE_CHECKING:
    from mp_kit.testing.fake_runpod.api import Call
    from mp_kit.testing.fake_runpod.cloud import Cloud
    from mp_kit.testing.fake_runpod.endpoints import Fleet

__all__ = ["pod_bill", "serverless_bill"]

_BUCKETS = {"hour": 3_600, "day": 86_400, "week": 604_800, "month": 2_592_000, "year": 31_536_000}
_MAX_BUCKETS = 10_000


def pod_bill(cloud: Cloud, call: Call) -> Reply:
    """The records of an account's pods, one per pod and bucket in which it cost anything."""
    owned = {pod.id: [pod] for pod in cloud.pods.values() if pod.owner == call.owner}
    return _bill(cloud, call, _Names("podId", "uniquePodCount", ()), owned)


def serverless_bill(cloud: Cloud, call: Call, fleet: Fleet) -> Reply:
    """The records of an account's endpoints, one per endpoint and bucket in which its workers cost anything."""
    mine = [endpoint for endpoint in fleet.endpoints.values() if endpoint.owner == call.owner]
    owned = {endpoint.id: [worker.pod for worker in endpoint.workers] for endpoint in mine}
    return _bill(cloud, call, _Names("serverlessId", "uniqueServerlessCount", ("feeAmount",)), owned)


@dataclass(frozen=True)
class _Names:
    id: str
    count: str
    zeros: tuple[str, ...]


def _bill(cloud: Cloud, call: Call, names: _Names, owned: dict[str, list[Pod]]) -> Reply:
    span = _span(cloud.clock.now(), call)
    if isinstance(span, Reply):
        return span
    start, end, size = span
    zeros = dict.fromkeys(names.zeros, 0.0)
    wanted = {key: pods for key, pods in owned.items() if call.query.get(names.id) in (None, key)}
    records = [
        told | zeros | {names.id: key}
        for key, pods in wanted.items()
        for told in _records(pods, start, min(end, cloud.clock.now()), size)
    ]
    return ok({"records": records, "metadata": _metadata(records, start, end, call, names)})


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


def _records(pods: list[Pod], start: datetime, end: datetime, size: int) -> list[dict[str, Any]]:
    if not pods:
        return []
    first = max(start, min(pod.created_at for pod in pods)).timestamp() // size * size
    records = []
    while first <= end.timestamp():
        begin, until = (datetime.fromtimestamp(at, UTC) for at in (first, first + size))
        span = max(begin, start), min(until, end)
        amounts = sum((pod.cost(span[1], since=span[0]) for pod in pods if span[0] < span[1]), Amounts())
        if amounts.total:
            records.append({"startTime": stamp(begin), "endTime": stamp(until)} | _told(pods[0], amounts))
        first += size
    return records


def _told(pod: Pod, amounts: Amounts) -> dict[str, Any]:
    machine, disk = round(float(amounts.machine), 9), round(float(amounts.disk), 9)
    is_gpu = "gpu" in pod.spec
    return {
        "totalAmount": round(machine + disk, 9),
        "gpuAmount": machine if is_gpu else 0.0,
        "cpuAmount": 0.0 if is_gpu else machine,
        "diskAmount": disk,
    }


def _metadata(
    records: list[dict[str, Any]], start: datetime, end: datetime, call: Call, names: _Names
) -> dict[str, Any]:
    sums = ("totalAmount", "gpuAmount", "cpuAmount", "diskAmount", *names.zeros)
    query = {"startTime": stamp(start), "endTime": stamp(end), "bucketSize": call.query.get("bucketSize", "day")}
    return {
        "query": query | {names.id: call.query.get(names.id)},
        "recordCount": len(records),
        names.count: len({record[names.id] for record in records}),
        "totals": {name: round(sum(record[name] for record in records), 9) for name in sums},
    }
