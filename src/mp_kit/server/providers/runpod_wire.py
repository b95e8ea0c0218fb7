"""What RunPod's REST v2 answers, as values; readers that ask for no more than they need.

1. An unknown key is ignored, a missing optional one is None, an unknown status is kept as it came.
2. Without an id and a name there is no pod: such an entry is left out of a list.
3. A pod's ``env`` comes back in clear in every answer; it is never read, so it can get nowhere.
4. Amounts are ``Decimal``, from the digits that were sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from mp_kit.server.providers.base import Phase

__all__ = ["CpuKind", "GpuKind", "LogEvent", "Pod", "decode", "instant", "instant_text", "money"]

_PHASES = {
    "PROVISIONING": Phase.STARTING,
    "STARTING": Phase.STARTING,
    "RUNNING": Phase.RUNNING,
    "EXITED": Phase.EXITED,
    "ERROR": Phase.EXITED,
    "TERMINATED": Phase.GONE,
}
_FRACTION = re.compile(r"\.(\d+)")
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Pod:
    """A pod.

    Attributes:
        id: RunPod's id.
        name: As its creator called it; not unique by itself.
        status: RunPod's word.
        cost: US dollars per hour as charged now; None if the answer did not say.
        created_at: When it was made, if told.
        gpu: Its GPU type's id, empty if it has none.
        cloud: ``SECURE`` or ``COMMUNITY``.
        data_center: Where it was placed, if told.
        uptime: Seconds since its container was started last; None if not told.
    """

    id: str
    name: str
    status: str
    cost: Decimal | None = None
    created_at: datetime | None = None
    gpu: str = ""
    cloud: str = ""
    data_center: str = ""
    uptime: float | None = None

    @classmethod
    def read(cls, document: Any) -> Pod | None:
        """Reads a pod; None if the document is none."""
        if not isinstance(document, Mapping) or not document.get("id") or not isinstance(document.get("name"), str):
            return None
        gpu, uptime = document.get("gpu"), money(_mapping(document.get("runtime")).get("uptime"))
        return cls(
            id=str(document["id"]),
            name=document["name"],
            status=str(document.get("status") or ""),
            cost=money(document.get("cost")),
            created_at=instant(document.get("createdAt")),
            gpu=str(gpu.get("id") or "") if isinstance(gpu, Mapping) else "",
            cloud=str(document.get("cloud") or ""),
            data_center=str(document.get("dataCenterId") or ""),
            uptime=None if uptime is None else float(uptime),
        )

    @property
    def phase(self) -> Phase:
        """Its status in our words."""
        return _PHASES.get(self.status, Phase.UNKNOWN)

    @property
    def age_key(self) -> tuple[datetime, str]:
        """Sorts pods, the oldest first."""
        return (self.created_at or _EARLIEST, self.id)


@dataclass(frozen=True)
class GpuKind:
    """A GPU type of the catalogue, as asked for one cloud and one count.

    Attributes:
        id: What a launch names.
        name: For people.
        memory: GB.
        prices: US dollars per GPU-hour, by cloud; a cloud without it is missing.
        max_count: GPUs per pod, by cloud.
        stock: ``high``, ``medium``, ``low``, ``none``; ``unknown`` if not told.
        places: Data centres and their stock, if told.
    """

    id: str
    name: str
    memory: int
    prices: Mapping[str, Decimal]
    max_count: Mapping[str, int]
    stock: str = "unknown"
    places: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Any) -> GpuKind | None:
        """Reads a GPU type; None if the document is none."""
        if not isinstance(document, Mapping) or not document.get("id"):
            return None
        price, most = _mapping(document.get("price")), _mapping(document.get("maxCount"))
        offered = {cloud for cloud in ("SECURE", "COMMUNITY") if document.get(cloud.lower(), True)}
        prices = {cloud: money(price.get(cloud.lower())) for cloud in offered}
        counts = {cloud: money(most.get(cloud.lower())) for cloud in offered}
        return cls(
            id=str(document["id"]),
            name=str(document.get("name") or document["id"]),
            memory=int(money(document.get("memory")) or 0),
            prices={cloud: amount for cloud, amount in prices.items() if amount},
            max_count={cloud: int(count) for cloud, count in counts.items() if count is not None},
            stock=str(document.get("availability") or "unknown").lower(),
            places=_places(document),
        )


@dataclass(frozen=True)
class CpuKind:
    """A CPU flavour of the catalogue.

    Attributes:
        id: What a launch names.
        price: US dollars per vCPU-hour in a pod.
        gb_per_vcpu: Memory that comes with each.
        least: Fewest vCPUs.
        most: Most vCPUs.
        stock: ``high``, ``medium``, ``low``, ``none``; ``unknown`` if not told.
        places: Data centres and their stock, if told.
    """

    id: str
    price: Decimal
    gb_per_vcpu: float
    least: int
    most: int
    stock: str = "unknown"
    places: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Any) -> CpuKind | None:
        """Reads a flavour; None if the document is none, or names no price or memory."""
        told = _mapping(document)
        price, memory = money(_mapping(told.get("price")).get("securePerVcpu")), money(told.get("ramGbPerVcpu"))
        if not told.get("id") or not price or not memory or memory <= 0:
            return None
        bounds = _mapping(told.get("vcpu"))
        return cls(
            id=str(told["id"]),
            price=price,
            gb_per_vcpu=float(memory),
            least=int(money(bounds.get("min")) or 0),
            most=int(money(bounds.get("max")) or 0),
            stock=str(told.get("availability") or "unknown").lower(),
            places=_places(told),
        )


@dataclass(frozen=True)
class LogEvent:
    """One line of a pod's log.

    Attributes:
        id: Where to resume after it; opaque.
        source: ``container`` or ``system``.
        text: The line.
        at: RunPod's time stamp, as sent.
    """

    id: str
    source: str
    text: str
    at: str = ""


def decode(body: bytes) -> Any:
    """JSON with numbers as ``Decimal``; None if it is none."""
    try:
        return json.loads(body, parse_float=Decimal)
    except ValueError:
        return None


def money(value: Any) -> Decimal | None:
    """An amount from a number or from digits; None if it is neither."""
    if value is None or isinstance(value, bool):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def instant(value: Any) -> datetime | None:
    """An RFC 3339 instant in UTC; None if it is none. Nanoseconds are cut to microseconds."""
    try:
        read = datetime.fromisoformat(_FRACTION.sub(lambda found: f".{found[1][:6]:0<6}", str(value)))
    except ValueError:
        return None
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)


def instant_text(value: datetime) -> str:
    """An instant as RFC 3339 in UTC with ``Z``."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _places(document: Mapping[str, Any]) -> dict[str, str]:
    told = [_mapping(place) for place in document.get("dataCenters") or ()]
    return {str(place.get("id")): str(place.get("availability") or "unknown").lower() for place in told}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
