"""The sandbox: opening it, moving its clock, and hearing everybody at each close."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mp_kit.client import config, display, html
from mp_kit.client.instants import When, instant
from mp_kit.client.progress import OnProgress
from mp_kit.client.results import Rows, Shown
from mp_kit.contracts.scores import LeaderboardEntry
from mp_kit.errors import BarsError, InvalidInputError
from mp_kit.rehearsal.moment import Answer, Moment, frame_of, rows_of
from mp_kit.rehearsal.operator import Operator
from mp_kit.rehearsal.process import Host
from mp_kit.rehearsal.result import Rehearsal
from mp_kit.rehearsal.rules import Rule
from mp_kit.rehearsal.spans import Span, days_of, span, usual_days
from mp_kit.rehearsal.tape import Tape
from mp_kit.rehearsal.voices import LIFE, VERSION, Voice, joined, ruled

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Model", "Sandbox", "midnight"]

Model = Callable[[Moment], Answer]
"""A model of one's own: it is told the moment, and answers what it says of the bars that have just closed."""

_DAY = timedelta(days=1)
_WEEKEND = timedelta(days=3)
_OWN = "mine"


class Sandbox(Shown):
    """A running sandbox; a context manager, or closed by :meth:`close`.

    Args:
        tape: The bars.
        start: When it opens.
        rules: The house vendors' models.
        every: How often a round is published.
        home: Where its state lies; a temporary folder by default.

    Attributes:
        market: Your own connection, signed in as the vendor ``you``.
        operator: The operator's verbs.
        house: The house's vendors, each with its ``market``.
    """

    def __init__(self, tape: Tape, start: datetime, rules: Sequence[Rule], every: timedelta, home: Path | None) -> None:
        self._tape, self._every = tape, every
        self._host = Host(start, home)
        self.start = self._next_round = self._heard_until = start
        self.house: list[Voice] = []
        self._rules = tuple(rules)
        self._heard = {"closes": 0, "signals": 0, "refused": 0}
        try:
            self.operator = Operator(self._host, tape)
            self.operator.maintain()
            self.market = self.operator.vendor("you")
            self.house = [self._settle(rule) for rule in rules]
            self._publish()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the marketplace answers: its pages are at ``/marketplace``."""
        return self._host.url

    @property
    def home(self) -> Path:
        """The folder of its state."""
        return self._host.home

    @property
    def now(self) -> datetime:
        """What time it is in the sandbox; it goes on by itself, as fast as anywhere."""
        return self._host.now

    @property
    def symbols(self) -> list[str]:
        """What is traded."""
        return list(self._tape.symbols)

    @property
    def ends(self) -> datetime:
        """The close of the last bar: how far it can go."""
        return self._tape.last

    @property
    def usual_days(self) -> float:
        """So many days that scores come of them, or up to the bars' end."""
        return min(usual_days(self._tape.timeframe), (self.ends - self.now) / _DAY)

    def bars(self, symbol: str, last: int | None = None) -> pd.DataFrame:
        """A symbol's bars that have closed by now, indexed by their open."""
        return frame_of(self._tape, symbol, self.now, last)

    def advance(
        self,
        by: Span | None = None,
        *,
        until: When | None = None,
        model: Model | None = None,
        progress: bool | OnProgress = False,
    ) -> datetime:
        """Lets time go on; at each close the house's vendors speak, and your model where one is given.

        Args:
            by: How long, such as ``1d``, ``12h`` or a timedelta.
            until: Or up to which instant.
            model: Yours: called at each close, it answers what it says; see :data:`Model`.
            progress: Show how far it is.

        Returns:
            The sandbox's time then.

        Raises:
            InvalidInputError: Both or neither were given, or the instant is over or has not come anywhere yet.
            BarsError: The bars end before.
        """
        target = self._target(by, until)
        own = self._own if model is not None else None
        moments = self._moments(target)
        with (
            display.progress("rehearsing", wanted=progress, unit="closes") as tell,
            ThreadPoolExecutor(max(len(self.house), 1)) as pool,
        ):
            for number, moment in enumerate(moments, 1):
                # Blending is the same whenever it is done, and a day's bars at once are the cheaper: bar by bar only
                # where a model may look at the consensus.
                blending = model is not None or _is_midnight(moment) or moment >= self._next_round
                self._host.ask("step", to=moment.isoformat(), blending=blending)
                self._hear(moment, pool, own, model)
                self._keep_house(moment)
                if tell is not None:
                    tell(number, len(moments), f"{moment:%Y-%m-%d %H:%M}")
        for voice in self._voices:
            voice.renew(self.now)
            voice.beat()
        self._host.ask("blend")
        return self.now

    def run(self, days: float = 30, *, model: Model | None = None, progress: bool | OnProgress = True) -> Rehearsal:
        """Lets so many days go by, then publishes a round of what happened and scores everybody with it.

        Args:
            days: How many, from now on.
            model: Yours, as in :meth:`advance`.
            progress: Show how far it is.

        Raises:
            BarsError: The bars end before.
        """
        began, start, before = time.perf_counter(), self.now, dict(self._heard)
        self.advance(days_of(days), model=model, progress=progress)
        round_id, board = self.score(), self.scores()
        heard = {name: count - before[name] for name, count in self._heard.items()}
        seconds = time.perf_counter() - began
        return Rehearsal(start, self.now, **heard, round_id=round_id, seconds=seconds, url=self.url, board=board)

    def score(self) -> str:
        """Publishes a round of all that has closed by now, and scores everybody with it.

        Returns:
            The round that judged.
        """
        round_id = self._publish()
        self.operator.score()
        return round_id

    def scores(self) -> Rows[LeaderboardEntry]:
        """The leaderboard, as of the last round; each number with its interval."""
        return self.market.scores.leaderboard(self._tape.timeframe.value, limit=1_000)

    def profile(self) -> Path:
        """Writes a profile with your key for the `mp` command, readable by you only, below the sandbox's home.

        Returns:
            The folder to name as ``XDG_CONFIG_HOME``.
        """
        folder = self.home / "profile"
        profile = config.Profile(api_url=self.url, api_key=self.operator.key_of("you"))
        config.save(profile, {"XDG_CONFIG_HOME": str(folder)})
        return folder

    def log(self) -> str:
        """The last of what the marketplace's process has complained about."""
        return self._host.log()

    def close(self) -> None:
        """Ends the marketplace and removes what it kept, but for a home that was named; again is harmless."""
        for voice in self._voices:
            voice.market.close()
        if "market" in self.__dict__:
            self.market.close()
        self._host.close()

    def _target(self, by: Span | None, until: When | None) -> datetime:
        if (by is None) == (until is None):
            raise InvalidInputError("How far?", hint='Say box.advance("1d"), or box.advance(until="2018-05-02").')
        now = self.now
        target = instant(until) if until is not None else now + span(by or "")
        if target < now:
            raise InvalidInputError(
                f"{target:%Y-%m-%dT%H:%MZ} is over: it is {now:%Y-%m-%dT%H:%MZ}.", hint="Time only goes on."
            )
        if target - now > timedelta(minutes=1) and target > datetime.now(UTC):
            raise InvalidInputError(f"{target:%Y-%m-%dT%H:%MZ} has not come anywhere yet.")
        if target > self.start + LIFE:
            raise InvalidInputError(
                f"A sandbox lives {LIFE.days} days, as its keys do: until {self.start + LIFE:%Y-%m-%d}.",
                hint="Open another one that starts later.",
            )
        if target > self._tape.last + _WEEKEND:
            raise BarsError(
                f"The bars of {self._tape.where} end at {self._tape.last:%Y-%m-%dT%H:%MZ}, before {target:%Y-%m-%d}.",
                hint="Go less far, start earlier, or give more bars.",
            )
        return target

    def _moments(self, target: datetime) -> list[datetime]:
        """Where to stop: at each close, each midnight, each round's time, and the end.

        A close that went by while nobody moved the clock is heard too: late, where it is, as the marketplace judges.
        """
        now = self.now
        stops = {*self._tape.closes(self._heard_until, target), target}
        night = midnight(now) + _DAY
        while night <= target:
            stops.add(night)
            night += _DAY
        due = self._next_round
        while due <= target:
            stops.add(due)
            due += self._every
        return sorted(stops)

    def _hear(self, moment: datetime, pool: ThreadPoolExecutor, own: Voice | None, model: Model | None) -> None:
        self._heard_until = moment
        closing = self._tape.closing(moment)
        if not closing:
            return
        fill = {"timeframe": self._tape.timeframe.value, "timestamp": moment, "model_version": VERSION}

        def speak(voice: Voice, rule: Rule) -> int:
            return voice.push(ruled(rule, self._tape, moment, closing), fill).accepted

        self._heard["closes"] += 1
        self._heard["signals"] += sum(pool.map(speak, self.house, self._rules))
        if own is not None and model is not None:
            told = Moment(moment, closing, self._tape.timeframe.value, self._tape)
            if rows := rows_of(model(told), told):
                done = own.push(rows, fill)
                self._heard["signals"] += done.accepted
                self._heard["refused"] += done.conflicts + done.rejected

    def _keep_house(self, moment: datetime) -> None:
        if _is_midnight(moment):
            self.operator.maintain()
            for voice in self._voices:
                voice.renew(moment)
        if moment >= self._next_round:
            self.score()

    def _publish(self) -> str:
        """A round of what has closed by now; the next one is due a while later."""
        while self._next_round <= self.now:
            self._next_round += self._every
        return self.operator.publish()

    def _settle(self, rule: Rule) -> Voice:
        with self.operator.vendor(f"house {rule.name}") as vendor:
            return joined(vendor, lambda: self.now, rule.name, rule.about)

    @property
    def _voices(self) -> list[Voice]:
        """All who speak; yours among them once it has been asked to."""
        return [*self.house, *([self._own] if "_own" in self.__dict__ else [])]

    @cached_property
    def _own(self) -> Voice:
        return joined(self.market, lambda: self.now, _OWN, "What you rehearse.")

    def _title(self) -> str:
        return f"Sandbox at {self.url}"

    def _facts(self) -> dict[str, Any]:
        return {
            "now": self.now,
            "bars": f"{', '.join(self.symbols)}, {self._tape.timeframe.value}, up to {self._tape.last:%Y-%m-%d %H:%M}Z",
            "house": [voice.name for voice in self.house],
            "pages": f"{self.url}/marketplace",
        }

    def _repr_html_(self) -> str:
        return html.card(self._title(), self._facts())


def midnight(when: datetime) -> datetime:
    """The beginning of its day."""
    return when.replace(hour=0, minute=0, second=0, microsecond=0)


def _is_midnight(when: datetime) -> bool:
    return when == midnight(when)
