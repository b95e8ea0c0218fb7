"""What a vendor can prove: a deployment's signals with the receipts that the marketplace signed for them.

1. Keys that are pinned in the profile count; only where none is pinned, those that are offered are taken and pinned.
2. The last receipt that each outbox was handed out must still be in the chain: that shows a cut end and a fork.
3. A saved proof is checked by anybody, offline, who trusts the key.
4. What is pushed while a proof is collected is in it with all its signals and its receipt, or not at all.
"""

from __future__ import annotations

import builtins
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mp_kit.chains import ChainReport, verify_chain
from mp_kit.client import html
from mp_kit.client.http import Api, Call, read
from mp_kit.client.outboxes import Outboxes
from mp_kit.client.progress import OnProgress
from mp_kit.client.results import Shown, plain_table
from mp_kit.client.sending import LAST_RECEIPT
from mp_kit.client.trust import Keys, Trust
from mp_kit.contracts.common import Model
from mp_kit.contracts.receipts import BatchReceipt, ReceiptBody
from mp_kit.contracts.rounds import SigningKey
from mp_kit.contracts.signals import Signal
from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.receipts import payload_sha256

RECEIPTS = "/api/signals/receipts"
KEYS = "/api/rounds/keys"
HOUSE = "house"
PAGE = 1000
COLUMNS = ("deployment", "verdict", "receipts", "signals", "unproved", "problem")


class Proof(Model):
    """A saved proof: everything that checking takes.

    Attributes:
        api_url: Whose marketplace it is.
        keys: The keys that it offered when the proof was saved.
        receipts: Each deployment's chain, first to last.
        signals: All signals of these deployments.
    """

    api_url: str
    keys: list[SigningKey]
    receipts: dict[str, list[BatchReceipt]]
    signals: list[Signal]


@dataclass(frozen=True, repr=False)
class Verified(Shown):
    """What checking found.

    Args:
        reports: One per deployment.
        keys: Where the trusted keys came from, in words.
    """

    reports: Sequence[ChainReport]
    keys: str

    @property
    def ok(self) -> bool:
        """All chains hold."""
        return all(report.ok for report in self.reports)

    def rows(self) -> list[dict[str, Any]]:
        """A row per problem, and one per chain that holds; problems first."""
        return [
            {
                "deployment": report.deployment_id,
                "verdict": "holds" if report.ok else "BROKEN",
                "receipts": report.receipts,
                "signals": report.signals,
                "unproved": report.before,
                "problem": problem,
            }
            for report in sorted(self.reports, key=lambda report: (report.ok, report.deployment_id))
            for problem in report.problems or (None,)
        ]

    def _title(self) -> str:
        return f"{len(self.reports)} chains of receipts hold" if self.ok else "The receipts do NOT hold"

    def _facts(self) -> Mapping[str, Any]:
        proved = sum(report.signals for report in self.reports)
        return {"signals proved": proved, "trusted keys": self.keys}

    def __repr__(self) -> str:
        told = [f"{row['deployment']}: {row['problem']}" for row in self.rows() if row["problem"]]
        table = [plain_table(self.rows(), COLUMNS[:-1])] if self.reports else []
        return "\n".join([super().__repr__(), *table, *told])

    def _repr_html_(self) -> str:
        return html.card(self._title(), self._facts(), html.table(self.rows(), COLUMNS))


class Notary:
    """Collects and checks proofs.

    Args:
        api: The marketplace.
        boxes: Outboxes, which remember the last receipts that were handed out.
        trust: Pinned keys.
        report: Told how many receipts and signals have come; how many there are is not known before.
    """

    def __init__(self, api: Api, boxes: Outboxes, trust: Trust, report: OnProgress | None = None) -> None:
        self._report = report
        self._came = 0
        self._known: Mapping[str, Mapping[int, str]] | None = None
        self._api = api
        self._boxes = boxes
        self._trust = trust

    def collect(self, deployment_id: str | None = None) -> Proof:
        """Fetches receipts, signals and keys: of one deployment, or of all that are ours."""
        self._known = self._handed_out()  # before anything is listed: what others are handed later may not be in it
        chains = self._chains(deployment_id)
        signals = self._all(Signal, "/api/signals", deployment_id)
        if not _covered(chains, signals):
            chains, signals = _settled(chains, self._chains(deployment_id), signals)
        for name in {deployment_id} if deployment_id else {signal.deployment_id or HOUSE for signal in signals}:
            chains.setdefault(name, [])
        keys = read(_Keys, self._api.send(Call("GET", KEYS)), KEYS).keys
        return Proof(api_url=self._api.base_url, keys=keys, receipts=chains, signals=signals)

    def check(self, proof: Proof, *, fresh: bool) -> Verified:
        """Checks a proof.

        Args:
            proof: Collected or saved.
            fresh: It was just collected: receipts that were handed out must be in it, and it is remembered.
        """
        pinned = self._trust.pinned()
        keys: Keys = pinned or {key.key_id: key for key in proof.keys}
        handed_out = self._known if fresh and self._known is not None else self._handed_out()
        own = _by_deployment(proof.signals)
        reports = [
            verify_chain(name, chain, own.get(name, []), keys, known=_known(handed_out, name, chain, fresh=fresh))
            for name, chain in sorted(proof.receipts.items())
        ]
        done = Verified(reports, "pinned in the profile" if pinned else "offered by the marketplace, none was pinned")
        if fresh and done.ok and any(proof.receipts.values()):
            self._trust.meet(keys)
            self._remember(proof)
        return done

    def _chains(self, deployment_id: str | None) -> dict[str, builtins.list[BatchReceipt]]:
        chains: dict[str, builtins.list[BatchReceipt]] = {}
        for receipt in self._all(BatchReceipt, RECEIPTS, deployment_id):
            body = _said(receipt)  # the check will tell whether that holds
            chains.setdefault(body.deployment_id if body is not None else "unknown", []).append(receipt)
        return chains

    def _all(self, model: type[Any], where: str, deployment_id: str | None) -> builtins.list[Any]:
        found: builtins.list[Any] = []
        cursor: str | None = None
        while True:
            params = {"deployment_id": deployment_id, "limit": PAGE, "cursor": cursor}
            reply = self._api.send(Call("GET", where, params=params))
            page = read(list[model], reply, where)  # type: ignore[valid-type]  # a type made at run time
            found += page
            cursor = reply.next_cursor
            self._came += len(page)
            if self._report is not None:
                self._report(self._came, self._came + (PAGE if cursor is not None else 0), where.rsplit("/", 1)[-1])
            if cursor is None:
                return found

    def _handed_out(self) -> dict[str, dict[int, str]]:
        """Hashes of the last receipts that were handed out, by deployment and number."""
        found: dict[str, dict[int, str]] = {}
        for box in self._boxes.all().values():
            kept = box.about().get(LAST_RECEIPT)
            if kept is not None:
                receipt = BatchReceipt.model_validate_json(kept)
                body = ReceiptBody.model_validate_json(receipt.payload)
                found.setdefault(body.deployment_id, {})[body.seq] = payload_sha256(receipt.payload)
        return found

    def _remember(self, proof: Proof) -> None:
        handed_out = self._handed_out()
        for name, chain in proof.receipts.items():
            if len(chain) > max(handed_out.get(name, {}), default=0):  # what was pushed meanwhile is newer
                self._boxes.of(name).remember({LAST_RECEIPT: chain[-1].model_dump_json()})


class _Keys(Model):
    keys: list[SigningKey]


def _said(receipt: BatchReceipt) -> ReceiptBody | None:
    """What a receipt says, unproved; None where this version cannot read it."""
    try:
        return ReceiptBody.model_validate_json(receipt.payload)
    except ValidationError:
        return None


def _by_deployment(signals: Iterable[Signal]) -> dict[str, list[Signal]]:
    found: dict[str, list[Signal]] = {}
    for signal in signals:
        found.setdefault(signal.deployment_id or HOUSE, []).append(signal)
    return found


def _covered(chains: Mapping[str, Sequence[BatchReceipt]], signals: Iterable[Signal]) -> bool:
    """Whether receipts name the batches of all these signals."""
    named = {(body.deployment_id, body.batch) for chain in chains.values() for body in map(_said, chain) if body}
    return named.issuperset((signal.deployment_id or HOUSE, _batch(signal)) for signal in signals)


def _batch(signal: Signal) -> str:
    return signal.signal_id.removeprefix("sig_").rpartition("_")[0]


def _settled(
    first: Mapping[str, list[BatchReceipt]], again: Mapping[str, list[BatchReceipt]], signals: Sequence[Signal]
) -> tuple[dict[str, list[BatchReceipt]], list[Signal]]:
    """Chains and signals that belong together, out of three listings between which somebody pushed.

    Args:
        first: Receipts as listed before the signals: every signal of theirs was there to be listed.
        again: Receipts as listed after them. Of those that are new, the ones count whose signals were all listed, up
            to the first that came in the middle; what follows is left for the next time, signals and all.
        signals: As listed in between.
    """
    chains, late = dict(first), set()
    for name, own in _by_deployment(signals).items():
        known = first.get(name, [])
        new = again.get(name, [])[len(known) :]
        whole = _whole(new, Counter(map(_batch, own)))
        chains[name] = [*known, *whole]
        late |= {(name, body.batch) for body in map(_said, new[len(whole) :]) if body}
    return chains, [one for one in signals if (one.deployment_id or HOUSE, _batch(one)) not in late]


def _whole(new: Iterable[BatchReceipt], there: Mapping[str, int]) -> list[BatchReceipt]:
    """Receipts up to the first one of which a signal is missing."""

    def complete(receipt: BatchReceipt) -> bool:
        body = _said(receipt)
        return body is None or there.get(body.batch, 0) >= body.rows

    return list(itertools.takewhile(complete, new))


def _known(
    handed_out: Mapping[str, Mapping[int, str]], name: str, chain: Sequence[BatchReceipt], *, fresh: bool
) -> Mapping[int, str]:
    """What the chain must hold; a saved one may be older than what was handed out since."""
    known = handed_out.get(name, {})
    return known if fresh else {seq: digest for seq, digest in known.items() if seq <= len(chain)}


def load(path: Path) -> Proof:
    """Reads a saved proof.

    Raises:
        NotFoundError: No such file.
        InvalidInputError: It is no saved proof.
    """
    try:
        return Proof.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}.") from None
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror or error}.") from error
    except ValidationError:
        raise InvalidInputError(
            f"{path} is no saved proof.", hint="Save one: `mp signals verify --save proof.json`."
        ) from None


def save(proof: Proof, path: Path) -> None:
    """Writes a proof.

    Raises:
        InvalidInputError: The file can't be written.
    """
    try:
        path.write_text(proof.model_dump_json(exclude_none=True, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path} can't be written: {error.strerror or error}.") from error


def only(proof: Proof, deployment_ids: Iterable[str]) -> Proof:
    """The part of a proof that is about these deployments.

    Raises:
        NotFoundError: The proof holds nothing of one of them.
    """
    wanted = set(deployment_ids)
    if missing := wanted - set(proof.receipts):
        held = ", ".join(sorted(proof.receipts)) or "none"
        raise NotFoundError(f"The proof holds nothing of {min(missing)}.", hint=f"It holds: {held}.")
    chains = {name: chain for name, chain in proof.receipts.items() if name in wanted}
    signals = [signal for signal in proof.signals if (signal.deployment_id or HOUSE) in wanted]
    return proof.model_copy(update={"receipts": chains, "signals": signals})
