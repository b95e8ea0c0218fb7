"""How much of each part a plan needs, computed from figures that ``python -m bench NAMES --save FILE`` wrote.

1. A figure is measured. What no benchmark measures is in :class:`Assumed`, by name, and may be changed there.
2. A need is a range. Its low end is the figure as it was measured, its high end has room for a slower machine, a
   fuller disk and neighbours: ``Assumed.margin``. Parts that can be bought only whole are rounded up at both ends.
3. Nothing is asked and nothing is written: numbers in, numbers out. ``python -m bench capacity`` holds the part that
   is about waiting against a real edge under mixed load.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mp_kit.contracts import Timeframe
from mp_kit.errors import InvalidInputError
from mp_kit.market.timeframes import seconds as seconds_of

__all__ = ["Arrival", "Assumed", "Need", "Plan", "felt", "most_per_second", "needs", "push_seconds", "read"]

DAY = 86_400
LANES = 2
"""Requests that go on at once in an edge: its interpreter reads one while Postgres stores another."""
_BULK_ROWS = 10_000
_METHODS = 3
_FLOW_RUNS_A_DAY = DAY / 60 + DAY / 600 + DAY / 300 + 1
"""ingest-signals, score, maintain and report, as ``deployments/prefect.yaml`` has them; the others live for hours."""


@dataclass(frozen=True)
class Plan:
    """What the marketplace is to carry.

    Args:
        vendors: With an account.
        deployments: That push signals, of all vendors together.
        symbols: That each of them speaks about.
        timeframe: Of the bars.
        runs: Trainings at once.
        views: Pages of the console that people open per second, at the busiest time.
        batched: Whether a deployment pushes a bar's signals as one batch, as it should; else each by itself.
        within_seconds: The time behind a bar's close in which everybody's pushes come.
        days_scored: How far back signals are scored: the length of the rounds' bars, or less where there are fewer.
    """

    vendors: int = 50
    deployments: int = 100
    symbols: int = 20
    timeframe: Timeframe = Timeframe.H1
    runs: int = 100
    views: float = 1.0
    batched: bool = True
    within_seconds: float = 10.0
    days_scored: float = 365.0

    @property
    def signals_per_day(self) -> float:
        """Of markets that never close; the others have fewer."""
        return self.deployments * self.symbols * DAY / seconds_of(self.timeframe.value)

    @property
    def pushes_per_bar(self) -> int:
        """Requests that store signals, at each bar's close."""
        return self.deployments * (1 if self.batched else self.symbols)


@dataclass(frozen=True)
class Assumed:
    """What no benchmark measures.

    Args:
        margin: How much worse another machine, a full disk or a neighbour may make a figure.
        busy: How busy an edge or a worker may be: beyond it, waiting grows faster than work.
        flow_start: CPU seconds of a flow run's start.
        page: Seconds of a page where the file of figures has none.
        voice_bytes: What a voice in a bar's consensus takes on disk, by each method.
        heartbeat: Seconds from one heartbeat of a deployment or a run to the next.
        cycle: Seconds from one look of the supervisor at an account to the next.
        token_check: Seconds of checking a token that was not seen for a minute.
    """

    margin: float = 2.0
    busy: float = 0.6
    flow_start: tuple[float, float] = (3.0, 4.0)
    page: tuple[float, float] = (0.02, 0.1)
    voice_bytes: tuple[float, float] = (100.0, 300.0)
    heartbeat: float = 30.0
    cycle: float = 2.0
    token_check: float = 0.03


@dataclass(frozen=True)
class Need:
    """How much of something is needed.

    Args:
        name: Of what.
        low: With figures as they were measured.
        high: With the margin.
        unit: Of both.
        because: What it follows from.
    """

    name: str
    low: float
    high: float
    unit: str
    because: str


@dataclass(frozen=True)
class Arrival:
    """A request that stores signals.

    Args:
        at: When, in seconds.
        rows: Signals in it.
        arrow: Whether they come as an Arrow stream.
        extra: Seconds that it takes besides, such as a token's slow check.
    """

    at: float
    rows: int
    arrow: bool = False
    extra: float = 0.0


def read(path: Path) -> dict[str, float]:
    """Figures by name.

    Args:
        path: JSON lines, as ``python -m bench NAMES --save FILE`` writes them.

    Raises:
        InvalidInputError: There is no such file, or it is none of these.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {line["name"]: float(line["value"]) for line in lines}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path.name} holds no figures: {error}.", hint=f"Measure them: python -m bench --save {path.name}"
        ) from error


def push_seconds(figures: Mapping[str, float], rows: int, *, arrow: bool = False) -> float:
    """Seconds of one push that finds nobody before it: a single signal's, and its further rows at the bulk's rate."""
    rate = _figure(figures, "ingest.arrow_http_10k" if arrow else "ingest.json_http_10k")
    return _figure(figures, "ingest.single_p50_ms") / 1e3 + (rows - 1) / rate


def most_per_second(figures: Mapping[str, float], mix: Iterable[Arrival], *, lanes: int = LANES) -> float:
    """Requests of a mix that one edge answers per second when it is never idle."""
    each = [_takes(figures, one) for one in mix]
    return lanes * len(each) / sum(each)


def felt(figures: Mapping[str, float], arrivals: Sequence[Arrival], *, lanes: int = LANES) -> tuple[float, float]:
    """What clients feel, from when a request is due to its answer: the median and the 99th percentile, in seconds.

    Requests are played through in their order, each taking what it takes alone at the median; so many go on at once as
    there are lanes. What a machine's hiccups add is the 99th percentile of a single request above its median, where the
    figures have it.
    """
    free = [0.0] * lanes
    waited = []
    for one in sorted(arrivals, key=lambda one: one.at):
        ends = max(heapq.heappop(free), one.at) + _takes(figures, one)
        heapq.heappush(free, ends)
        waited.append(ends - one.at)
    waited.sort()
    median, slow = (figures.get(f"ingest.single_p{share}_ms") for share in (50, 99))
    hiccups = (slow - median) / 1e3 if median is not None and slow is not None else 0.0
    return waited[len(waited) // 2], waited[int(0.99 * len(waited))] + hiccups


def needs(plan: Plan, figures: Mapping[str, float], assumed: Assumed = Assumed()) -> list[Need]:
    """What a plan needs of each part.

    Raises:
        InvalidInputError: A figure is missing, or the plan is none.
    """
    if min(plan.deployments, plan.symbols) < 1 or min(plan.within_seconds, plan.days_scored) <= 0:
        raise InvalidInputError("A plan has deployments and symbols, and takes some time.")
    return [
        _signals(plan),
        _edges(plan, figures, assumed),
        _commits(plan, assumed),
        *_workers(plan, figures, assumed),
        _disk(plan, figures, assumed),
        *_supervisor(plan, figures, assumed),
        *_scores(plan, figures, assumed),
    ]


def _signals(plan: Plan) -> Need:
    because = f"{plan.deployments:,} deployments, {plan.symbols:,} symbols, bars of {plan.timeframe.value}"
    return Need("signals", plan.signals_per_day * 5 / 7, plan.signals_per_day, "a day", because)


def _edges(plan: Plan, figures: Mapping[str, float], assumed: Assumed) -> Need:
    window = _window(plan)
    rate = plan.pushes_per_bar / window
    push = push_seconds(figures, plan.symbols if plan.batched else 1)
    checks = plan.deployments / max(60.0, window) * assumed.token_check
    pages = (figures["pages.p95_ms"] / 1e3,) * 2 if "pages.p95_ms" in figures else assumed.page
    low, high = (rate * push + checks + plan.views * page for page in pages)
    whole = [math.ceil(part / assumed.busy) for part in (low / LANES, high * assumed.margin)]
    because = (
        f"{rate:,.1f} pushes a second of {push * 1e3:.1f} ms, {plan.views:g} pages; {assumed.busy:.0%} busy at most"
    )
    return Need("edges", whole[0], whole[1], "processes", because)


def _commits(plan: Plan, assumed: Assumed) -> Need:
    pushes = plan.pushes_per_bar / _window(plan)
    beats = (plan.deployments + plan.runs) / assumed.heartbeat
    because = f"{pushes:,.1f} pushes at a bar's close, {beats:,.1f} heartbeats"
    return Need("commits of Postgres", pushes + beats, (pushes + beats) * assumed.margin, "a second", because)


def _workers(plan: Plan, figures: Mapping[str, float], assumed: Assumed) -> list[Need]:
    blending = _figure(figures, "consensus.seconds") * plan.signals_per_day / 1e6 / DAY
    scoring = _score_seconds(plan, figures) / 600
    starts = [cpu * _FLOW_RUNS_A_DAY / DAY for cpu in assumed.flow_start]
    low, high = starts[0] + blending + scoring, starts[1] + (blending + scoring) * assumed.margin
    each = "to ".join(f"{cpu:g} " for cpu in assumed.flow_start)
    because = f"{_FLOW_RUNS_A_DAY / 24:,.0f} flow runs an hour at {each}CPU seconds"
    whole = [math.ceil(cores / assumed.busy) for cores in (low, high)]
    return [
        Need("flow runs", low, high, "cores", f"{because}; blending and scoring"),
        Need("workers", whole[0], whole[1], "of one core", f"each at most {assumed.busy:.0%} busy"),
    ]


def _disk(plan: Plan, figures: Mapping[str, float], assumed: Assumed) -> Need:
    signal, push = _figure(figures, "ingest.bytes_per_signal"), _figure(figures, "ingest.bytes_per_push")
    pushes = plan.pushes_per_bar * DAY / seconds_of(plan.timeframe.value)
    stored = plan.signals_per_day * signal + pushes * push
    low, high = (plan.signals_per_day * _METHODS * voice for voice in assumed.voice_bytes)
    because = f"{signal:,.0f} bytes a signal, {push:,.0f} a push, {_METHODS} methods of consensus"
    return Need("disk of Postgres", (stored + low) / 2**30, (stored * 1.3 + high) / 2**30, "GiB a day", because)


def _supervisor(plan: Plan, figures: Mapping[str, float], assumed: Assumed) -> list[Need]:
    full, share = _figure(figures, "watch.rss_gib"), _figure(figures, "watch.cpu_share")
    scale = plan.runs / 1_000
    because = f"{full:.2f} GiB and {share:.0%} of a core with 1,000 runs"
    return [
        # How much of it is the process itself was not measured: below 1,000 runs all of it may be.
        Need("memory of the supervisor", full * scale, full * max(1.0, scale * assumed.margin), "GiB", because),
        Need("the supervisor", share * scale, share * max(scale * assumed.margin, 0.1), "cores", because),
        _calls(plan, figures, assumed),
    ]


def _calls(plan: Plan, figures: Mapping[str, float], assumed: Assumed) -> Need:
    each = _figure(figures, "watch.list_calls_per_cycle")
    most = min(plan.vendors, plan.runs) * each / assumed.cycle
    because = f"{each:.2g} list calls for each vendor with a run, every {assumed.cycle:g} s, or fewer"
    return Need("calls to RunPod", most / assumed.margin, most, "a second", because)


def _scores(plan: Plan, figures: Mapping[str, float], assumed: Assumed) -> list[Need]:
    took, memory = _score_seconds(plan, figures), _figure(figures, "score.peak_gib")
    millions = plan.signals_per_day * plan.days_scored / 1e6
    because = f"{millions:,.2f} million signals of {plan.days_scored:g} days, made whole each time"
    return [
        Need("a run of the flow score", took, took * assumed.margin, "seconds", because),
        Need("its memory", memory * millions, memory * max(1.0, millions * 1.3), "GiB", because),
    ]


def _window(plan: Plan) -> float:
    """Seconds in which the pushes of a bar come: no later than the next bar's close."""
    return min(plan.within_seconds, seconds_of(plan.timeframe.value))


def _score_seconds(plan: Plan, figures: Mapping[str, float]) -> float:
    return _figure(figures, "score.seconds") * plan.signals_per_day * plan.days_scored / 1e6


def _takes(figures: Mapping[str, float], one: Arrival) -> float:
    return push_seconds(figures, one.rows, arrow=one.arrow) + one.extra


def _figure(figures: Mapping[str, float], name: str) -> float:
    if name not in figures:
        group = name.partition(".")[0]
        raise InvalidInputError(
            f"The figure {name} is missing.", hint=f"Measure it: python -m bench {group} --save FILE"
        )
    return figures[name]
