"""GPUs as people say them, and the order in which they are tried."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mp_kit.errors import InvalidInputError
from mp_kit.server.providers.runpod_gpus import DEFAULT_GPUS, Wanted, candidates, read_gpu, wanted_ids
from mp_kit.server.providers.runpod_orders import pod_name, read_name
from mp_kit.server.providers.runpod_wire import GpuKind

A100 = ("NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-80GB")
H100 = ("NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3", "NVIDIA H100 NVL")

SPOKEN = [
    ("A100", A100),
    ("a100-80gb", A100),
    ("A100 80GB", A100),
    ("NVIDIA A100", A100),
    ("A100 SXM", A100[1:]),
    ("A100-SXM4-80GB", A100[1:]),
    ("a100 pcie", A100[:1]),
    ("nvidia a100 80gb pcie", A100[:1]),
    ("H100", H100),
    ("h100 nvl", H100[2:]),
    ("H100-SXM", H100[1:2]),
    ("NVIDIA H100 80GB HBM3", H100[1:2]),
    ("RTX4090", ("NVIDIA GeForce RTX 4090",)),
    ("rtx 4090", ("NVIDIA GeForce RTX 4090",)),
    ("4090", ("NVIDIA GeForce RTX 4090",)),
    ("GeForce RTX 3090", ("NVIDIA GeForce RTX 3090",)),
    ("L4", ("NVIDIA L4",)),
    ("l40s", ("NVIDIA L40S",)),
    ("L40", ("NVIDIA L40",)),
    ("RTX A6000", ("NVIDIA RTX A6000",)),
    ("RTX 6000 Ada", ("NVIDIA RTX 6000 Ada Generation",)),
    ("RTX PRO 6000", ("NVIDIA RTX PRO 6000 Blackwell Server Edition",)),
    ("H200", ("NVIDIA H200",)),
    ("MI300X", ("AMD Instinct MI300X OAM",)),
    ("", DEFAULT_GPUS),
]


@pytest.mark.parametrize(("name", "ids"), SPOKEN)
def test_names(name: str, ids: tuple[str, ...]):
    """A name means these ids, the usual choice first."""
    assert ids == wanted_ids(name)


UNKNOWN = [("A1000", "A100"), ("RTX4099", "RTX4090"), ("h10", "H100"), ("banana", "L40S"), ("L50S", "L40S")]


@pytest.mark.parametrize(("name", "near"), UNKNOWN)
def test_unknown_names_suggest_near_ones(name: str, near: str):
    """The sentence names what there is."""
    with pytest.raises(InvalidInputError, match=near) as caught:
        wanted_ids(name)
    assert repr(name) in str(caught.value)


def kind(gpu: str, price: str, stock: str = "high", community: str = "0", most: int = 8) -> GpuKind:
    """A GPU type of the catalogue."""
    amounts = {"SECURE": Decimal(price), "COMMUNITY": Decimal(community)}
    counts = {"SECURE": most, "COMMUNITY": most}
    return GpuKind(gpu, gpu.removeprefix("NVIDIA "), 80, {k: v for k, v in amounts.items() if v}, counts, stock)


def test_catalogue_knows_newer_ones():
    """A GPU that this release has never heard of is found by its id and by its name."""
    newer = [kind("NVIDIA Z900 Ultra", "9")]
    assert ("NVIDIA Z900 Ultra",) == wanted_ids("z900-ultra", newer)
    assert ("NVIDIA Z900 Ultra",) == wanted_ids("nvidia z900 ultra", newer)


COUNTS = [
    ("A100", Wanted("A100", 1)),
    ("2xA100", Wanted("A100", 2)),
    ("2 x A100", Wanted("A100", 2)),
    ("8x4090", Wanted("4090", 8)),
    ("H100:4", Wanted("H100", 4)),
    ("H100 x 8", Wanted("H100", 8)),
    ("H100x8", Wanted("H100", 8)),
    ("MI300X", Wanted("MI300X", 1)),
    ("RTX 4090", Wanted("RTX 4090", 1)),
    (" L4 ", Wanted("L4", 1)),
    (None, Wanted("", 1)),
]


@pytest.mark.parametrize(("text", "expected"), COUNTS)
def test_counts(text: str | None, expected: Wanted):
    """How people write several GPUs."""
    assert expected == read_gpu(text)


def order_of(wanted: Wanted, *kinds: GpuKind, **options: object) -> list[str]:
    """GPUs in the order in which they are tried."""
    return [one.gpu for one in candidates(wanted, {"SECURE": kinds}, **options)]


def test_sold_out_ones_come_last():
    """The catalogue is a hint: they are tried, but last."""
    assert [A100[1], A100[0]] == order_of(Wanted("A100"), kind(A100[0], "1.0", "none"), kind(A100[1], "2.0", "low"))


def test_cheap_ones_come_first():
    """Among those in stock the price decides, then the name's own order."""
    kinds = (kind(H100[2], "2.4"), kind(H100[1], "3.5"), kind(H100[0], "2.4"))
    assert [H100[0], H100[2], H100[1]] == order_of(Wanted("H100"), *kinds)


def test_prices_are_for_the_pod():
    """The catalogue's price is for one GPU."""
    (one,) = candidates(Wanted("L4", 4), {"SECURE": [kind("NVIDIA L4", "0.43")]})
    assert Decimal("1.72") == one.price


def test_observed_prices_count():
    """A price that was really charged takes the place of a lower one of the catalogue."""
    quotes = {("NVIDIA L4", "SECURE"): Decimal("0.86")}
    (one,) = candidates(Wanted("L4"), {"SECURE": [kind("NVIDIA L4", "0.43")]}, quotes=quotes)
    assert Decimal("0.86") == one.price


def test_count_that_no_pod_has():
    """It says what the most is."""
    with pytest.raises(InvalidInputError, match="8 is the most"):
        candidates(Wanted("L4", 9), {"SECURE": [kind("NVIDIA L4", "0.43")]})


def test_count_leaves_smaller_machines_out():
    """Of a name's GPUs those with enough per pod."""
    assert [A100[1]] == order_of(Wanted("A100", 4), kind(A100[0], "1.0", most=2), kind(A100[1], "2.0"))


def test_names_of_pods_are_read_back():
    """Run and attempt, of this marketplace alone."""
    name = pod_name("mp-1a2b", "run_7m2k", 12)
    assert ("run_7m2k", 12) == read_name("mp-1a2b", name)


FOREIGN = ["", "mp-1a2b", "mp-1a2b-run_1", "mp-1a2b-run_1-a0", "mp-1a2b-run_1-a1-x", "xmp-1a2b-run_1-a1", "mp-run_1-a1"]
FOREIGN += ["mp-1a2b-x-run_1-a1", "mp-1a2b-run_1-a1\n", "mp-1a2b-run_1-a٣", "MP-1A2B-run_1-a1", "my-training-pod"]


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_names(name: str):
    """Everything else belongs to somebody else."""
    assert read_name("mp-1a2b", name) is None
