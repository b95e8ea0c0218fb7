"""How often somebody may ask: limits by name, read from a setting.

A limit is a token bucket (GCRA): it holds ``burst`` requests and gains ``count`` of them evenly over ``seconds``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mp_kit.errors import SetupError

__all__ = ["DEFAULTS", "Limit", "parse"]

_UNITS = {"s": 1.0, "min": 60.0, "h": 3_600.0}
_SPELLED = re.compile(r"^(\d{1,9})/(s|min|h)(?::(\d{1,9}))?$")
_FORM = "COUNT/UNIT or COUNT/UNIT:BURST with a unit of s, min or h, such as 60/min or 120/h:5, or off"


@dataclass(frozen=True)
class Limit:
    """So many requests in so many seconds, and so many at once.

    Args:
        name: What it is called, in settings and in the database.
        count: Requests.
        seconds: In which the bucket gains so many.
        burst: Requests that a full bucket holds; ``count`` unless said.
    """

    name: str
    count: int
    seconds: float
    burst: int

    @property
    def step(self) -> float:
        """Seconds in which the bucket gains one request."""
        return self.seconds / self.count

    def __str__(self) -> str:
        unit = next(name for name, seconds in _UNITS.items() if seconds == self.seconds)
        return f"{self.count}/{unit}" + (f" with bursts of {self.burst}" if self.burst != self.count else "")


DEFAULTS: Mapping[str, Limit] = {
    limit.name: limit
    for limit in (
        Limit("writes", 60, 60.0, 60),  # signals and consensus, of a deployment
        Limit("heartbeats", 120, 3_600.0, 5),  # of a deployment
        Limit("vendor", 60, 60.0, 60),  # everything else with a token, of a vendor or of a deployment
        Limit("public", 100, 60.0, 100),  # without a token, of an address
        Limit("pages", 120, 60.0, 120),  # of the console, of a vendor that is signed in
        Limit("runs", 600, 60.0, 600),  # from inside a training job, of a run
        Limit("failures", 20, 60.0, 20),  # wrong keys, tokens and codes, of an address
    )
}
"""What holds where the operator says nothing: the first four are the wire's."""


def parse(said: str) -> dict[str, Limit]:
    """Reads the limits of a setting.

    Args:
        said: ``off``, or changes of :data:`DEFAULTS` with commas or spaces between, such as
            ``writes=600/min, heartbeats=120/h:5, public=off``; ``all`` stands for every one.

    Returns:
        The limits that hold, by name.

    Raises:
        SetupError: A name or a limit that is none.
    """
    if said.strip().lower() == "off":
        return {}
    limits = dict(DEFAULTS)
    for part in said.replace(",", " ").split():
        name, _, rate = part.partition("=")
        if name != "all" and name not in DEFAULTS:
            known = ", ".join(DEFAULTS)
            raise SetupError(f"MP_LIMITS has no limit {name[:40]!r}.", hint=f"There are {known}, and all.")
        for one in DEFAULTS if name == "all" else (name,):
            limits.pop(one, None)
            if rate.lower() != "off":
                limits[one] = replace(_read(rate, name), name=one)
    return limits


def _read(rate: str, name: str) -> Limit:
    match = _SPELLED.match(rate)
    count, burst = (int(match[1]), int(match[3] or match[1])) if match else (0, 0)
    if match is None or count < 1 or burst < 1:
        raise SetupError(f"MP_LIMITS: {name}={rate[:40]} is no limit.", hint=f"It is {_FORM}.")
    return Limit(name, count, _UNITS[match[2]], burst)
