"""CPU pods: which of RunPod's flavours bear a server, in the order in which a launch tries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from mp_kit.errors import InvalidInputError
from mp_kit.server.providers.runpod_gpus import Candidate
from mp_kit.server.providers.runpod_wire import CpuKind

__all__ = ["cpu_candidates", "vcpu_count"]

_CLOUD = "SECURE"


def vcpu_count(least: float) -> int:
    """The smallest number of vCPUs that RunPod sells and that is no less: a power of two from 2 on."""
    count = 2
    while count < least:
        count *= 2
    return count


def cpu_candidates(
    kinds: Sequence[CpuKind],
    cpus: int,
    memory: int,
    *,
    places: Sequence[str] = (),
    quotes: Mapping[tuple[str, str], Decimal] | None = None,
) -> list[Candidate]:
    """What to try, in order: in stock before sold out, then cheap before dear.

    Args:
        kinds: RunPod's offer.
        cpus: vCPUs at least.
        memory: GB at least; more vCPUs are taken where a flavour has too little for each.
        places: Data centres that are allowed; empty for all.
        quotes: Prices per vCPU-hour that were seen to be higher than the catalogue's, by flavour and cloud.

    Raises:
        InvalidInputError: No flavour is so large.
    """
    sized = [(kind, vcpu_count(max(cpus, memory / kind.gb_per_vcpu, kind.least))) for kind in kinds]
    fitting = [(kind, count) for kind, count in sized if count <= kind.most]
    if kinds and not fitting:
        raise InvalidInputError(f"No CPU pod has {cpus} vCPUs and {memory} GB.", hint="Ask for less, or for a GPU.")
    found: list[Candidate] = []
    for kind, count in fitting:
        price = max(kind.price, (quotes or {}).get((kind.id, _CLOUD), kind.price)) * count
        stocks = [(kind.places.get(place, "none"), place) for place in places] or [(kind.stock, "")]
        found += [Candidate(kind.id, count, _CLOUD, price, *where, is_cpu=True) for where in stocks]
    return sorted(found, key=lambda one: (one.stock == "none", one.price, one.gpu))
