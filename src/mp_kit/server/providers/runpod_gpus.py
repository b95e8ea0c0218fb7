"""GPUs as people say them, RunPod's ids for them, and the order in which a launch tries what the catalogue offers.

1. A name means a list of ids, the usual choice first; RunPod's own id or name means just that GPU.
2. The catalogue's stock is a hint: what it calls sold out is tried last, not left out.
3. Price decides among equals, and nothing above the cap is ever tried.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mp_kit.errors import InvalidInputError
from mp_kit.server.providers.base import Offer
from mp_kit.server.providers.runpod_wire import GpuKind

__all__ = ["DEFAULT_GPUS", "Candidate", "Wanted", "candidates", "read_gpu", "wanted_ids"]

_IDS: Mapping[str, tuple[str, ...]] = {
    "NVIDIA RTX A4000": ("a4000",),
    "NVIDIA GeForce RTX 3090": ("3090",),
    "NVIDIA RTX A5000": ("a5000",),
    "NVIDIA L4": ("l4",),
    "NVIDIA GeForce RTX 4090": ("4090",),
    "NVIDIA GeForce RTX 5090": ("5090",),
    "NVIDIA A40": ("a40",),
    "NVIDIA RTX A6000": ("a6000",),
    "NVIDIA L40": ("l40",),
    "NVIDIA L40S": ("l40s",),
    "NVIDIA RTX 6000 Ada Generation": ("6000ada", "ada6000"),
    "NVIDIA A100 80GB PCIe": ("a100", "a10080gb", "a100pcie", "a10080gbpcie"),
    "NVIDIA A100-SXM4-80GB": ("a100", "a10080gb", "a100sxm", "a100sxm4", "a100sxm80gb", "a100sxm480gb"),
    "NVIDIA H100 PCIe": ("h100", "h10080gb", "h100pcie"),
    "NVIDIA H100 80GB HBM3": ("h100", "h10080gb", "h100sxm", "h100sxm5", "h100hbm3"),
    "NVIDIA H100 NVL": ("h100", "h100nvl"),
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": ("pro6000", "pro6000blackwell", "6000pro", "6000blackwell"),
    "NVIDIA H200": ("h200", "h200sxm", "h200141gb"),
    "NVIDIA B200": ("b200",),
    "NVIDIA B300 SXM6 AC": ("b300", "b300sxm"),
    "AMD Instinct MI300X OAM": ("mi300x", "mi300"),
}
DEFAULT_GPUS = (
    *("NVIDIA RTX A4000", "NVIDIA RTX A5000", "NVIDIA GeForce RTX 3090"),
    *("NVIDIA L4", "NVIDIA GeForce RTX 4090", "NVIDIA RTX A6000", "NVIDIA A40"),
)
"""What a run without a wish gets: small ones, the cheapest that is in stock."""

_SPOKEN = (
    "A4000",
    "RTX3090",
    "A5000",
    "L4",
    "RTX4090",
    "RTX5090",
    "A40",
    "A6000",
    "L40",
    "L40S",
    "A100",
    "H100",
    "H200",
)
_MAKERS = ("nvidia", "amd", "geforce", "instinct", "quadro", "tesla")
_COUNT_FIRST = re.compile(r"(\d{1,2})\s*[x*]\s*(\S.*)", re.IGNORECASE)
_COUNT_LAST = re.compile(r"(.*?\w)\s*[:x*]\s*(\d{1,2})", re.IGNORECASE)
_RANK = {"high": 0, "medium": 1, "low": 2, "unknown": 2, "none": 3}
_ENDLESS = 99


@dataclass(frozen=True)
class Wanted:
    """A GPU as ordered.

    Attributes:
        name: As a person said it; empty for no wish.
        count: How many in one pod.
    """

    name: str
    count: int = 1


@dataclass(frozen=True)
class Candidate:
    """One order that could be placed.

    Attributes:
        gpu: RunPod's id of the GPU; of the CPU flavour where it is a CPU pod.
        count: GPUs in the pod, or vCPUs.
        cloud: ``SECURE`` or ``COMMUNITY``.
        price: US dollars per hour for the pod.
        stock: The catalogue's hint.
        place: Data centre; empty to let RunPod choose.
        is_cpu: A pod without a GPU.
    """

    gpu: str
    count: int
    cloud: str
    price: Decimal
    stock: str
    place: str = ""
    is_cpu: bool = False

    def offer(self) -> Offer:
        """As the protocol shows it."""
        stock = "any" if self.stock == "unknown" else self.stock
        data = {"gpu": self.gpu, "count": self.count, "cloud": self.cloud, "data_center": self.place}
        name = self.gpu if self.count == 1 else f"{self.count} x {self.gpu}"
        name = f"{self.count} vCPUs of {self.gpu}" if self.is_cpu else name
        return Offer(name, self.price, stock, self.cloud.lower(), data)


def read_gpu(text: str | None) -> Wanted:
    """Reads a GPU as people write it: ``A100``, ``2xH100``, ``RTX 4090 x 2``, ``L40S:4``.

    Raises:
        InvalidInputError: The count is 0.
    """
    said = (text or "").strip()
    first, last = _COUNT_FIRST.fullmatch(said), _COUNT_LAST.fullmatch(said)
    if first:
        wanted = Wanted(first[2].strip(), int(first[1]))
    elif last:
        wanted = Wanted(last[1].strip(), int(last[2]))
    else:
        wanted = Wanted(said)
    if wanted.count < 1:
        raise InvalidInputError(f"gpu: {said!r} asks for no GPU at all; ask for at least one.")
    return wanted


def wanted_ids(name: str, catalogue: Iterable[GpuKind] = ()) -> tuple[str, ...]:
    """RunPod's ids for a name, the usual choice first.

    Args:
        name: As a person said it; empty for no wish.
        catalogue: What RunPod offers; its ids and names are understood too.

    Raises:
        InvalidInputError: No GPU is called so; the message names some that are.
    """
    if not name:
        return DEFAULT_GPUS
    offered = list(catalogue)
    own = [gpu for gpu in (*(kind.id for kind in offered), *_IDS) if gpu.casefold() == name.casefold()]
    if own:
        return (own[0],)
    spoken = _plain(name)
    found = [gpu for gpu, names in _IDS.items() if spoken in {*names, _plain(gpu)}]
    found += [kind.id for kind in offered if spoken in {_plain(kind.id), _plain(kind.name)} and kind.id not in found]
    if not found:
        raise _unknown(name, offered)
    return tuple(found)


def _plain(name: str) -> str:
    """Without makers, case, spaces and the ``RTX`` that half of the people leave out."""
    text = name.casefold()
    for maker in _MAKERS:
        text = text.replace(maker, "")
    text = re.sub(r"[^a-z0-9]", "", text)
    return text.removeprefix("rtx")


def _unknown(name: str, offered: Sequence[GpuKind]) -> InvalidInputError:
    names = {_plain(said): said for said in (*_SPOKEN, *(kind.name for kind in offered), *_IDS)}
    near = [names[plain] for plain in difflib.get_close_matches(_plain(name), names, n=3, cutoff=0.5)]
    return InvalidInputError(
        f"gpu: RunPod has no GPU called {name!r}; near it: {', '.join(near or _SPOKEN[-4:])}.",
        hint=f"Name one of {', '.join(_SPOKEN)}, or RunPod's own id.",
    )


def candidates(
    wanted: Wanted,
    catalogues: Mapping[str, Sequence[GpuKind]],
    *,
    places: Sequence[str] = (),
    quotes: Mapping[tuple[str, str], Decimal] | None = None,
) -> list[Candidate]:
    """What to try, in order: in stock before sold out, then cheap before dear, then the name's own order.

    Args:
        wanted: What was ordered.
        catalogues: RunPod's offer, by cloud.
        places: Data centres that are allowed; empty for all.
        quotes: Prices per GPU-hour that were seen to be higher than the catalogue's, by GPU and cloud.

    Raises:
        InvalidInputError: No such GPU exists, or no pod has so many of them.
    """
    kinds = [kind for offered in catalogues.values() for kind in offered]
    ids = wanted_ids(wanted.name, kinds)
    _check_count(wanted, ids, kinds)
    found: list[Candidate] = []
    for cloud, offered in catalogues.items():
        for kind in offered:
            price = kind.prices.get(cloud)
            if kind.id in ids and price is not None and wanted.count <= kind.max_count.get(cloud, _ENDLESS):
                price = max(price, (quotes or {}).get((kind.id, cloud), price))
                found += _placed(kind, Wanted(kind.id, wanted.count), cloud, price * wanted.count, places)
    return sorted(found, key=lambda one: (one.stock == "none", one.price, ids.index(one.gpu), _RANK.get(one.stock, 2)))


def _check_count(wanted: Wanted, ids: Sequence[str], kinds: Sequence[GpuKind]) -> None:
    most = [count for kind in kinds if kind.id in ids for count in kind.max_count.values()]
    if most and wanted.count > max(most):
        raise InvalidInputError(f"gpu: no pod has {wanted.count} of {wanted.name or 'these'}; {max(most)} is the most.")


def _placed(kind: GpuKind, wanted: Wanted, cloud: str, price: Decimal, places: Sequence[str]) -> list[Candidate]:
    def one(stock: str, place: str = "") -> Candidate:
        return Candidate(wanted.name, wanted.count, cloud, price, stock, place)

    return [one(kind.places.get(place, "none"), place) for place in places] if places else [one(kind.stock)]
