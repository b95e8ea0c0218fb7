"""Signals: pushed exactly once by way of a durable outbox, and read back with their attribution."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mp_kit.client import config, proofs
from mp_kit.client.deployments import Credential, credential
from mp_kit.client.desk import Desk
from mp_kit.client.display import progress as reporter
from mp_kit.client.http import Api
from mp_kit.client.instants import When, instant
from mp_kit.client.invalid import one_of
from mp_kit.client.letters import letters_of
from mp_kit.client.outbox import Outbox
from mp_kit.client.outboxes import Outboxes, deployment_of
from mp_kit.client.progress import OnProgress, Tally
from mp_kit.client.proofs import Notary, Verified
from mp_kit.client.pushes import FlushResult, PushResult
from mp_kit.client.results import Rows
from mp_kit.client.rows import Reading, signal_writes
from mp_kit.client.rows import Signals as Given
from mp_kit.client.sending import Sent, deliver, flush
from mp_kit.client.settling import add, flush_result, push_result, waiting_error
from mp_kit.client.trust import Trust
from mp_kit.client.views import SignalView
from mp_kit.contracts.common import Timeframe
from mp_kit.contracts.deployments import Deployment

CHUNK = 10_000
OTHERS_SECONDS = 90.0
"""How long a push waits while another process sends."""


class SignalBox(Desk):
    """The vendor's signals.

    Args:
        api: The marketplace.
        folder: Where the outboxes lie; None keeps them in memory.
        sleep: Waits; tests pass their own.
        trust: The pinned signing keys.

    Example:
        >>> m.signals.push(frame, token=deployment)
        >>> m.signals.list(symbol="EURUSD")
    """

    def __init__(
        self,
        api: Api,
        folder: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
        trust: Trust | None = None,
    ) -> None:
        self._api = api
        self._trust = trust or Trust(api.base_url, in_profile=False)
        self._boxes = Outboxes(api.base_url, folder)
        self._tokens: dict[str, SecretStr] = {}
        self._sleep = sleep

    def __repr__(self) -> str:
        return (
            f"Signals at {self._api.base_url}: push(frame, token=deployment), flush(), pending(), rejected(), "
            "list(symbol, timeframe), verify()"
        )

    @property
    def has_token(self) -> bool:
        """The connection's own token may push: it is a deployment's."""
        own = self._api.token
        return own is not None and not own.get_secret_value().startswith("vk_")

    def push(  # noqa: PLR0913 - one readable line in a notebook wants each of these by name
        self,
        signals: Given,
        token: Credential | None = None,
        *,
        deployment_id: str | None = None,
        columns: Mapping[str, str] | None = None,
        fill: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        atomic: bool = False,
        chunk: int = CHUNK,
        progress: bool | OnProgress = True,
    ) -> PushResult:
        """Writes signals to disk, then sends them, after those that wait already; sending them again is harmless.

        What cannot be sent now (no network, the marketplace busy or down) waits in the outbox: ``pending`` of the
        result counts it, and the next push or ``flush`` sends it.

        Args:
            signals: A pandas or polars frame, an Arrow table, or an iterable of SignalWrite or dictionaries.
            token: The deployment's token, or the object that holds it; by default the connection's own.
            deployment_id: Whose token it is, where the token is plain text and not in the profile.
            columns: Field by column where the names do not say it, such as ``{"yhat": "decision"}``.
            fill: Fields that no column has, the same for each row, such as ``{"timeframe": "1h"}``.
            idempotency_key: Names this push; a fresh one by default. Chunks after the first get a number added.
            atomic: All or none; then everything goes in one request.
            chunk: Most signals per request.
            progress: Show how many have been answered; False for none.

        Raises:
            InvalidInputError: Rows break the contract; nothing was kept or sent, and ``details`` names them all.
            AttributionError: A vendor or deployment named in a row is not the token's; kept apart with its reason.
            AuthError: The token is not good any more; what was pushed waits for a good one.
            SetupError: The outbox is full or its file cannot be used; nothing was kept.

        Example:
            >>> m.signals.push(frame, token=deployment)
        """
        writes = signal_writes(signals, Reading(columns or {}, fill or {}))
        who = self._token(token)
        if not writes:
            return push_result([], [])
        name = self._name(token, who, deployment_id)
        if who is not None:
            self._tokens[name] = who
        box = self._boxes.of(name)
        letters = list(letters_of(writes, idempotency_key or uuid.uuid4().hex, chunk, atomic=atomic))
        numbers = box.put(letters)
        with reporter("Pushing", wanted=progress, unit="signals") as report:
            tally = Tally(_waiting(box), report)
            send = lambda: flush(box, self._api, who, tally.counted)  # noqa: E731 - of this box, to be called again
            sent = deliver(box, numbers, send, patience=OTHERS_SECONDS, sleep=self._sleep)
        told = [(letter, sent.outcomes.get(number)) for number, letter in zip(numbers, letters, strict=True)]
        return push_result(writes, told, sent)

    def flush(
        self,
        token: Credential | None = None,
        *,
        deployment_id: str | None = None,
        progress: bool | OnProgress = True,
    ) -> FlushResult:
        """Sends what waits, oldest first.

        Args:
            token: Of one deployment; without it every outbox of this marketplace whose token is known is flushed.
            deployment_id: Only this deployment's.
            progress: As for :meth:`push`.

        Raises:
            AuthError: A token is not good any more; what waits stays.

        Example:
            >>> m.signals.flush()
        """
        if token is not None or deployment_id is not None:
            who = self._token(token) if token is not None else self._known(deployment_id or "")
            names = [self._name(token, who, deployment_id)]
        else:
            names = list(self._boxes.all())
        total = FlushResult()
        for name in names:
            who = self._token(token) if token is not None else self._known(name)
            total = add(total, self._flush(name, who, progress))
        return total

    def pending(self) -> Rows[Mapping[str, Any]]:
        """What waits in the outboxes of this marketplace, oldest first, and what kept it from leaving.

        Example:
            >>> m.signals.pending()
        """
        found = [
            {
                "deployment": name,
                "signals": one.rows,
                "since": datetime.fromtimestamp(one.put_at, UTC),
                "tries": one.tries,
                "reason": one.why,
            }
            for name, box in self._boxes.all().items()
            for one in box.waiting()
        ]
        return Rows(found, "Pending signals", ("deployment", "signals", "since", "tries", "reason"))

    def rejected(self, *, forget: bool = False) -> Rows[Mapping[str, Any]]:
        """Signals that the marketplace refused for good, with its reasons; they are kept here until forgotten.

        Args:
            forget: Forget them after they were returned.

        Example:
            >>> m.signals.rejected()
        """
        boxes = self._boxes.all()
        found = [
            {"deployment": name, "status": one.status, "reason": one.reason, "signal": one.signal}
            | {"at": datetime.fromtimestamp(one.at, UTC)}
            for name, box in boxes.items()
            for one in box.refused()
        ]
        for box in boxes.values() if forget else ():
            box.forget_refused()
        return Rows(found, "Rejected signals", ("at", "deployment", "status", "reason", "signal"))

    def list(
        self,
        symbol: str | None = None,
        timeframe: str | None = None,
        *,
        deployment_id: str | None = None,
        start: When | None = None,
        end: When | None = None,
        limit: int = 100,
    ) -> Rows[SignalView]:
        """The vendor's own stored signals.

        Args:
            symbol: Only this one.
            timeframe: Only this one.
            deployment_id: Only this one.
            start: First instant.
            end: Last instant.
            limit: At most so many.

        Example:
            >>> m.signals.list("EURUSD", start="2026-01-01").sort("confidence", reverse=True)
        """
        span = {"from": start and _text(start), "to": end and _text(end)}
        found = self._api.pages(
            SignalView,
            "/api/signals",
            limit,
            symbol=symbol,
            timeframe=one_of("timeframe", timeframe, Timeframe),
            deployment_id=deployment_id,
            **span,
        )
        columns = ("event_time", "symbol", "timeframe", "decision", "confidence", "model_version", "late", "signal_id")
        return Rows(found, "Signals", columns)

    def verify(
        self, deployment_id: str | None = None, *, file: Path | str | None = None, save: Path | str | None = None
    ) -> Verified:
        """Checks that the marketplace signed what is stored, and that nothing was changed, removed or slipped in.

        Args:
            deployment_id: Only this one; all of the vendor's by default.
            file: A saved proof, to be checked without the network.
            save: Where to save what was fetched, for somebody else or for later.

        Returns:
            A report per deployment; its ``ok`` says whether all holds.

        Example:
            >>> m.signals.verify().ok
        """
        with reporter("Verifying", unit="receipts and signals") as report:
            return self._verify(Notary(self._api, self._boxes, self._trust, report), deployment_id, file, save)

    def _verify(
        self, notary: Notary, deployment_id: str | None, file: Path | str | None, save: Path | str | None
    ) -> Verified:
        if file is not None:
            proof = proofs.load(Path(file))
            return notary.check(proofs.only(proof, [deployment_id]) if deployment_id else proof, fresh=False)
        proof = notary.collect(deployment_id)
        if save is not None:
            proofs.save(proof, Path(save))
        return notary.check(proof, fresh=True)

    def close(self) -> None:
        """Closes the outboxes; what waits stays on disk.

        Example:
            >>> m.signals.close()
        """
        self._boxes.close()

    def _flush(self, name: str, who: SecretStr | None, progress: bool | OnProgress) -> FlushResult:
        box = self._boxes.of(name)
        if not box.waiting():
            return FlushResult()
        if who is None:
            reason = f"no token for {name} is known: pass token=…, or run `mp link-infra --deployment {name}`"
            return flush_result(box, Sent(), reason)
        with reporter("Flushing", wanted=progress, unit="signals") as report:
            sent = flush(box, self._api, who, Tally(_waiting(box), report).counted)
        if sent.stopped is not None and not sent.stopped.retryable:
            raise waiting_error(sent.stopped, box)
        return flush_result(box, sent, "another process is sending" if sent.busy else None)

    def _token(self, given: Credential | None) -> SecretStr | None:
        return credential(given) or self._api.token

    def _name(self, given: Credential | None, who: SecretStr | None, deployment_id: str | None) -> str:
        if isinstance(given, Deployment):
            return given.deployment_id
        return deployment_id or deployment_of(who, self._api.base_url)

    def _known(self, name: str) -> SecretStr | None:
        if name in self._tokens:
            return self._tokens[name]
        stored = config.moved(config.load(), self._api.base_url).deployments.get(name)
        own = self._api.token
        if stored is None and own is not None and self.has_token:
            return own if deployment_of(own, self._api.base_url) == name else None
        return stored


def _waiting(box: Outbox) -> int:
    return sum(one.rows for one in box.waiting())


def _text(value: When) -> str:
    return instant(value).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
