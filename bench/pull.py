"""Pulling a set of files, against curl of the same set to the same disk from the same server; both take turns.

curl gets its best way of the two in each round: one after the other over one connection, or eight at once (``-Z``). Our
side verifies sha256; curl's does not. The ratio is the median over the rounds of what ran side by side.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import projection
from bench.results import Result, seconds_of, taking_turns
from bench.servers import started
from mp_kit.client.opener import Urllib3Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.transfer import Transfer
from mp_kit.client.urls import Signed, UrlBook

FILES, FILE_BYTES = 60, 16 << 20
WAN_FILES, WAN_FILE_BYTES = 24, 512 << 10
ROUNDS = 5
CURL = ("curl", "--silent", "--fail")


def run() -> list[Result]:
    """Ratios of rates."""
    with tempfile.TemporaryDirectory(prefix="mp-bench-pull-") as name:
        folder = Path(name)
        return [*_loopback(folder), _wan(folder / "wan"), projection.run(folder / "projection")]


def _loopback(folder: Path) -> list[Result]:
    served = folder / "served"
    hashes = _make(served, FILES, FILE_BYTES)
    results = []
    for kind, target in (("static", ">= 1.0"), ("edge", "")):
        with started(kind, str(served)) as port:
            urls = _urls(served, kind, port)
            seconds = taking_turns(ROUNDS, _contenders(folder, urls, hashes, FILE_BYTES))
        total = FILES * FILE_BYTES / 1e6
        rate = {name: total / statistics.median(found) for name, found in seconds.items()}
        ratios = [min(curl, both) / ours for curl, both, ours in zip(*seconds.values(), strict=True)]
        against = f"curl {rate['curl']:,.0f} MB/s, curl -Z {rate['curl -Z']:,.0f} MB/s; {_spread(ratios)}"
        name = "pull.loopback" if kind == "static" else "pull.loopback_edge"
        results.append(Result(name, rate["ours"], "MB/s", against, statistics.median(ratios), target))
    return results


def _spread(ratios: list[float]) -> str:
    return f"ratio {min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds"


def _wan(folder: Path) -> Result:
    """Through 40 ms and 0.65 MB/s per connection, against one stream of curl; once each, for it takes long."""
    served = folder / "served"
    hashes = _make(served, WAN_FILES, WAN_FILE_BYTES)
    with started("static", str(served)) as upstream, started("proxy", str(upstream)) as port:
        contenders = _contenders(folder, _urls(served, "static", port), hashes, WAN_FILE_BYTES)
        curl, ours = contenders["curl"](), contenders["ours"]()
    total = WAN_FILES * WAN_FILE_BYTES / 1e6
    return Result("pull.wan", total / ours, "MB/s", f"curl, one stream, {total / curl:.2f} MB/s", curl / ours, ">= 7")


def _make(folder: Path, count: int, size: int) -> dict[str, str]:
    """Files of random bytes; their hashes by name."""
    folder.mkdir(parents=True)
    hashes = {}
    for number in range(count):
        content = random.Random(number).randbytes(size)
        (folder / f"{number:03}.bin").write_bytes(content)
        hashes[f"{number:03}.bin"] = hashlib.sha256(content).hexdigest()
    return hashes


def _urls(served: Path, kind: str, port: int) -> dict[str, str]:
    if kind == "edge":
        return dict(line.split(" ") for line in (served / "urls").read_text().splitlines())
    return {path.name: f"http://127.0.0.1:{port}/{path.name}" for path in sorted(served.glob("*.bin"))}


def _contenders(
    folder: Path, urls: Mapping[str, str], hashes: Mapping[str, str], size: int
) -> dict[str, Callable[[], float]]:
    target = folder / "fetched"
    config = folder / "curl.txt"
    config.write_text("".join(f'url = "{url}"\noutput = "{target / name}"\n' for name, url in urls.items()))

    def fresh(work: Callable[[], object]) -> float:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        return seconds_of(work)

    def curl(*options: str) -> None:
        subprocess.run([*CURL, *options, "--config", str(config)], check=True, stderr=subprocess.DEVNULL)

    def ours() -> None:
        opener = Urllib3Opener()
        wanted = [Wanted(name, size, hashes[name], target / name) for name in urls]
        Transfer(opener, UrlBook(lambda: Signed(urls))).run(wanted)
        opener.close()

    return {
        "curl": lambda: fresh(curl),
        "curl -Z": lambda: fresh(lambda: curl("--parallel", "--parallel-max", "8", "--parallel-immediate")),
        "ours": lambda: fresh(ours),
    }
