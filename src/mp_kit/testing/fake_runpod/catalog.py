"""The catalogue: GPU types with pools, prices and stock, and the data centres that have them.

Prices are those that were published in 2026 (2025 where no newer one is known), in US dollars per GPU-hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

__all__ = ["Catalogue", "GpuKind"]

_CUDA = ("12.4", "12.6", "12.8", "12.9")


@dataclass(frozen=True)
class GpuKind:
    """A GPU type.

    Attributes:
        id: As RunPod calls it.
        memory: GB.
        pool: Of serverless workers; None if it is in none.
        secure: Price in the secure cloud, 0 if it is not there.
        community: Price in the community cloud, 0 if it is not there.
        stock: NONE, LOW, MEDIUM or HIGH.
        max_count: GPUs per pod.
        places: Data centres that have it.
    """

    id: str
    memory: int
    pool: str | None
    secure: Decimal
    community: Decimal = Decimal(0)
    stock: str = "HIGH"
    max_count: int = 8
    places: tuple[str, ...] = ("EU-RO-1", "US-KS-2")

    def price(self, cloud: str) -> Decimal:
        """US dollars per GPU-hour in a cloud; 0 if it is not there."""
        return self.secure if cloud == "SECURE" else self.community

    def has_place(self, cloud: str, count: int, centres: list[str]) -> bool:
        """Whether a pod of this shape finds a machine; the list of data centres is enforced."""
        fits = self.price(cloud) > 0 and count <= self.max_count and self.stock != "NONE"
        return fits and (not centres or bool(set(centres) & set(self.places)))


def _kind(name: str, memory: int, pool: str | None, secure: str, community: str = "0", stock: str = "HIGH") -> GpuKind:
    return GpuKind(name, memory, pool, Decimal(secure), Decimal(community), stock)


_KINDS = (
    _kind("NVIDIA RTX A4000", 16, "AMPERE_16", "0.24", "0.17"),
    _kind("NVIDIA GeForce RTX 3090", 24, "AMPERE_24", "0.43", "0.22", "MEDIUM"),
    _kind("NVIDIA RTX A5000", 24, "AMPERE_24", "0.27", "0.16"),
    _kind("NVIDIA L4", 24, "AMPERE_24", "0.43", "0", "MEDIUM"),
    _kind("NVIDIA GeForce RTX 4090", 24, "ADA_24", "0.69", "0.34"),
    _kind("NVIDIA GeForce RTX 5090", 32, "ADA_32_PRO", "0.89", "0.69", "LOW"),
    _kind("NVIDIA A40", 48, "AMPERE_48", "0.49"),
    _kind("NVIDIA RTX A6000", 48, "AMPERE_48", "0.53", "0.33"),
    _kind("NVIDIA L40", 48, "ADA_48_PRO", "0.99", "0.69", "MEDIUM"),
    _kind("NVIDIA L40S", 48, "ADA_48_PRO", "1.09", "0.79"),
    _kind("NVIDIA RTX 6000 Ada Generation", 48, "ADA_48_PRO", "0.84", "0.74", "MEDIUM"),
    _kind("NVIDIA A100 80GB PCIe", 80, "AMPERE_80", "1.59", "1.19", "MEDIUM"),
    _kind("NVIDIA A100-SXM4-80GB", 80, "AMPERE_80", "1.59", "0", "LOW"),
    _kind("NVIDIA H100 PCIe", 80, "ADA_80_PRO", "2.39", "1.99", "LOW"),
    _kind("NVIDIA H100 80GB HBM3", 80, "ADA_80_PRO", "3.49", "2.69", "MEDIUM"),
    _kind("NVIDIA H100 NVL", 94, "ADA_80_PRO", "2.79", "2.59", "LOW"),
    _kind("NVIDIA RTX PRO 6000 Blackwell Server Edition", 96, "BLACKWELL_96", "2.09", "0", "MEDIUM"),
    _kind("NVIDIA H200", 141, "HOPPER_141", "4.59", "3.59", "LOW"),
    _kind("NVIDIA B200", 180, "BLACKWELL_180", "6.79", "0", "NONE"),
)
_CPUS = (
    ("cpu3c", "Compute-Optimized", "Gen 3", 32, 2),
    ("cpu3g", "General Purpose", "Gen 3", 32, 4),
    ("cpu5c", "Compute-Optimized", "Gen 5", 32, 2),
)
_CENTRES = (
    {"id": "EU-RO-1", "name": "EU Romania 1", "region": "EUROPE", "country": "RO"},
    {"id": "EU-NL-1", "name": "EU Netherlands 1", "region": "EUROPE", "country": "NL"},
    {"id": "US-KS-2", "name": "US Kansas 2", "region": "NORTH_AMERICA", "country": "US"},
    {"id": "US-TX-3", "name": "US Texas 3", "region": "NORTH_AMERICA", "country": "US"},
)


class Catalogue:
    """All GPU types, with stock and prices that a test may change."""

    def __init__(self) -> None:
        self.kinds: dict[str, GpuKind] = {kind.id: kind for kind in _KINDS}
        self.cpu_price = Decimal("0.03")  # per vCPU-hour, of every flavour
        self.cpu_stock = "HIGH"

    def change(self, gpu: str, **facts: Any) -> None:
        """Changes facts of a GPU type, ``stock="NONE"`` or ``secure=Decimal("0.99")`` for instance."""
        self.kinds[gpu] = replace(self.kinds[gpu], **facts)

    def find(self, gpu: str) -> GpuKind | None:
        """A type by its id."""
        return self.kinds.get(gpu)

    def gpus(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """What ``GET /v2/catalog/gpus`` lists."""
        countries = set(filter(None, query.get("countryCodes", "").split(",")))
        kinds = [kind for kind in self.kinds.values() if not countries or self._in_countries(kind, countries)]
        return [self.gpu(kind, query) for kind in kinds]

    def gpu(self, kind: GpuKind, query: Mapping[str, str]) -> dict[str, Any]:
        """A GPU type as the API tells it."""
        told = {
            "id": kind.id,
            "name": kind.id.removeprefix("NVIDIA ").removeprefix("GeForce "),
            "pool": kind.pool,
            "manufacturer": "NVIDIA",
            "memory": kind.memory,
            "secure": kind.secure > 0,
            "community": kind.community > 0,
            "price": {
                "secure": float(kind.secure),
                "community": float(kind.community),
                "serverless": float(kind.secure * 2),
            },
            "maxCount": {
                "secure": kind.max_count if kind.secure else 0,
                "community": kind.max_count if kind.community else 0,
            },
        }
        return told | (self._stock(kind, query) if "AVAILABILITY" in query.get("include", "") else {})

    def cpus(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """What ``GET /v2/catalog/cpus`` lists."""
        return [self._cpu(*facts, query) for facts in _CPUS]

    def has_cpus(self, flavour: str, count: int) -> bool:
        """Whether a CPU pod finds a machine; where the flavour is sold at all."""
        most = {name: most for name, _, _, most, _ in _CPUS}
        return self.cpu_stock != "NONE" and count <= most.get(flavour, 0) and count & (count - 1) == 0

    def _cpu(
        self, flavour: str, name: str, group: str, most: int, memory: int, query: Mapping[str, str]
    ) -> dict[str, Any]:
        price = {"securePerVcpu": float(self.cpu_price), "serverlessPerVcpu": float(self.cpu_price * 2)}
        told = {"id": flavour, "name": name, "group": group, "ramGbPerVcpu": memory, "price": price}
        told |= {"vcpu": {"min": 2, "max": most}}
        fits = self.cpu_stock if int(query.get("vcpuCount", "2")) <= most else "NONE"
        return told | ({"availability": fits} if "AVAILABILITY" in query.get("include", "") else {})

    def centres(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """What ``GET /v2/catalog/datacenters`` lists."""
        regions = set(filter(None, query.get("regions", "").split(",")))
        return [self._centre(c, query) for c in _CENTRES if not regions or c["region"] in regions]

    def _stock(self, kind: GpuKind, query: Mapping[str, str]) -> dict[str, Any]:
        level = kind.stock
        cloud = query.get("cloud", "SECURE")
        if int(query.get("count", "1")) > kind.max_count or (cloud != "ALL" and kind.price(cloud) == 0):
            level = "NONE"
        names = {c["id"]: c["name"] for c in _CENTRES}
        places = [{"id": place, "name": names.get(place, place), "availability": level} for place in kind.places]
        versions = [{"version": version, "available": level != "NONE"} for version in _CUDA]
        return {"availability": level, "dataCenters": places, "cudaVersions": versions}

    def _centre(self, centre: dict[str, str], query: Mapping[str, str]) -> dict[str, Any]:
        told: dict[str, Any] = {key: centre[key] for key in ("id", "name", "region")}
        told |= {"globalNetwork": True, "networkVolumeTypes": ["STANDARD"], "compliance": ["SOC_2_TYPE_2"]}
        if "GPU_AVAILABILITY" in query.get("include", ""):
            here = [kind for kind in self.kinds.values() if centre["id"] in kind.places]
            told["gpuAvailability"] = [{"id": k.id, "name": k.id, "availability": k.stock} for k in here]
        return told

    def _in_countries(self, kind: GpuKind, countries: set[str]) -> bool:
        return any(c["country"] in countries for c in _CENTRES if c["id"] in kind.places)
