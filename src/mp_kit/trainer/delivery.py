"""The last act: the rest of the log, then the outcome, repeated until the marketplace has them or the time is over."""

from __future__ import annotations

import sys
import time

from mp_kit.contracts.training import RunOutcome
from mp_kit.errors import ConflictError, MarketplaceError
from mp_kit.trainer.api import RunApi, insist
from mp_kit.trainer.shipping import LogShipper

__all__ = ["MOST_FAILURE", "deliver"]

MOST_FAILURE = 4_000
"""Characters of a failure that the wire takes."""


def deliver(api: RunApi, shipper: LogShipper, outcome: RunOutcome, seconds: float) -> RunOutcome | None:
    """Delivers an outcome after all log lines.

    Args:
        api: Whom to tell.
        shipper: At rest, with what is left of the log.
        outcome: How the job ended.
        seconds: How long to go on trying.

    Returns:
        What was told: the outcome, or a bad one where the marketplace did not find the artifacts as announced. None if
        nobody took it.
    """
    until = time.monotonic() + seconds
    try:
        _ship_rest(shipper, until)
        return _tell(api, outcome, until)
    except MarketplaceError as error:
        _say(f"the outcome could not be delivered: {error}")
        return None


def _ship_rest(shipper: LogShipper, until: float) -> None:
    try:
        while not shipper.is_done:
            insist(shipper.step, until=until)
    except MarketplaceError as error:
        if error.retryable:
            raise
        _say(f"the marketplace takes no more log lines: {error}")  # the outcome matters more than they do


def _tell(api: RunApi, outcome: RunOutcome, until: float) -> RunOutcome:
    try:
        insist(lambda: api.finish(outcome), until=until)
    except ConflictError as error:
        if not outcome.artifacts:
            raise
        failure = f"The job succeeded, but its artifacts were not taken: {error}"[:MOST_FAILURE]
        outcome = outcome.model_copy(update={"status": "failed", "failure": failure, "artifacts": []})
        insist(lambda: api.finish(outcome), until=until)
    return outcome


def _say(text: str) -> None:
    sys.stderr.write(f"mp-kit trainer: {text}\n")
    sys.stderr.flush()
