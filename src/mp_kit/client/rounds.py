"""Rounds: which there are, and their verified manifests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from mp_kit.client.desk import Keyed, names_of
from mp_kit.client.http import Api, Call, path
from mp_kit.client.results import Rows, Shown, size
from mp_kit.client.round_plot import Source, Table, plot_round
from mp_kit.client.trust import Trust
from mp_kit.client.views import ManifestView
from mp_kit.contracts.common import CURRENT, Model
from mp_kit.contracts.headers import MANIFEST_KEY_HEADER, MANIFEST_SIGNATURE_HEADER
from mp_kit.contracts.rounds import Manifest, ManifestSignature, Round, RoundFile, SigningKey
from mp_kit.errors import ConflictError, IntegrityError
from mp_kit.signing import open_manifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mp_kit.client.instants import When


class RoundView(Shown, Round):
    """A published round, as it shows itself."""

    _source: Source | None = PrivateAttr(default=None)
    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"Round {self.round_id}" + (" (current)" if self.is_current else "")

    def _facts(self) -> Mapping[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "symbols": sorted({file.symbol for file in self.files if file.symbol}),
            "roles": sorted({file.type.value for file in self.files}),
            "rows": f"{sum(file.rows for file in self.files):,}",
            "files": f"{len(self.files)}, {size(sum(file.size_bytes for file in self.files))}",
        }

    def table(self) -> Rows[RoundFile]:
        """Its files as a table.

        Example:
            >>> m.rounds.current().table().sort("rows", reverse=True)
        """
        return Rows(self.files, f"Files of {self.round_id}", ("name", "type", "symbol", "rows", "size_bytes", "sha256"))

    def plot(
        self,
        symbol: str | None = None,
        *,
        kind: str = "auto",
        start: When | None = None,
        end: When | None = None,
        progress: bool = True,
    ) -> Axes:
        """Draws a symbol's price with the parts of the round (train, validation) and the gaps between them.

        Only the columns that are drawn are fetched, and verified.

        Args:
            symbol: Such as EURUSD; the round's first by default.
            kind: candles, line, or auto: candles where so few bars are drawn that they can be told apart.
            start: First instant (included), as for ``m.data.load``.
            end: Last instant (excluded), likewise.
            progress: Show the transfer.

        Returns:
            The axes; ``.figure.savefig("round.svg")`` exports them, as PNG likewise.

        Raises:
            InvalidInputError: There is no such symbol or kind, or no bar lies in the span.
            MissingExtraError: matplotlib is not installed.

        Example:
            >>> m.rounds.current().plot("EURUSD")
            >>> ax = m.rounds.current().plot("EURUSD", start="2026-01-06", end="2026-01-07")
            >>> ax.figure.savefig("round.svg")
        """
        if self._source is None:
            raise ConflictError("This round came without its connection.", hint="Ask anew: m.rounds.get(round_id).")
        return plot_round(self._source, self.round_id, symbol, kind=kind, start=start, end=end, progress=progress)


class _Views(Model):
    rounds: list[RoundView]


class _Keys(Model):
    keys: list[SigningKey]


@dataclass(frozen=True)
class SignedManifest:
    """A manifest whose signature holds.

    Args:
        manifest: What it says.
        payload: The exact bytes that were signed.
        signature: The signature over them.
    """

    manifest: Manifest
    payload: bytes = field(repr=False)
    signature: ManifestSignature


class Rounds(Keyed):
    """The published rounds.

    Example:
        >>> m.rounds.current()
        >>> m.rounds["current"]
    """

    def __init__(self, api: Api, trust: Trust | None = None, bars: Table | None = None) -> None:
        self._api = api
        self._source = Source(self.manifest, bars) if bars is not None else None
        self._trust = trust or Trust(api.base_url)

    def __repr__(self) -> str:
        return f"Rounds of {self._api.base_url}: current(), get(id), list(), manifest(id)"

    def __getitem__(self, round_id: str) -> RoundView:
        return self.get(round_id)

    def _names(self, api: Api) -> list[str]:
        return [CURRENT, *names_of(api.get(_Views, "/api/rounds", limit=100).rounds, "round_id")]

    def _sourced(self, view: RoundView) -> RoundView:
        view._source = self._source  # noqa: SLF001 - a view is frozen for its readers, not for its maker
        return view

    def current(self) -> RoundView:
        """The current round.

        Raises:
            NoCurrentRoundError: None has been published.

        Example:
            >>> m.rounds.current().plot("EURUSD")
        """
        return self.get(CURRENT)

    def get(self, round_id: str) -> RoundView:
        """A round by its id, or ``"current"``.

        Example:
            >>> m.rounds.get("current").table()
        """
        return self._sourced(self._api.get(RoundView, path("rounds", round_id)))

    def list(self, limit: int = 20) -> Rows[RoundView]:
        """The newest rounds.

        Example:
            >>> m.rounds.list(5)
        """
        found = self._api.get(_Views, "/api/rounds", limit=limit)
        rounds = [self._sourced(view) for view in found.rounds]
        return Rows(rounds, "Rounds", ("round_id", "name", "is_current", "created_at", "expires_at"))

    def manifest(self, round_id: str = CURRENT) -> ManifestView:
        """A round's manifest, verified over its exact bytes before it is parsed.

        Raises:
            IntegrityError: The signature does not hold, its key is not a pinned one, or it is another round's manifest.

        Example:
            >>> m.rounds.manifest().symbols
        """
        return ManifestView(**dict(self.signed_manifest(round_id).manifest))

    def signed_manifest(self, round_id: str = CURRENT) -> SignedManifest:
        """As :meth:`manifest`, with the bytes and the signature, to be kept beside the files.

        Example:
            >>> m.rounds.signed_manifest().signature.key_id
        """
        reply = self._api.send(Call("GET", path("rounds", round_id, "manifest"), raw=True))
        signature = ManifestSignature(
            key_id=reply.headers.get(MANIFEST_KEY_HEADER, ""),
            signature=reply.headers.get(MANIFEST_SIGNATURE_HEADER, ""),
            sha256=hashlib.sha256(reply.body).hexdigest(),
        )
        offered = {key.key_id: key for key in self.keys()}
        manifest = open_manifest(reply.body, signature, self._trust.keys(offered, signature.key_id))
        self._trust.meet(offered)
        if round_id not in {CURRENT, manifest.round_id}:
            raise IntegrityError(f"Asked for the manifest of {round_id}, got a signed one of {manifest.round_id}.")
        return SignedManifest(manifest, reply.body, signature)

    def keys(self) -> Rows[SigningKey]:
        """The public keys that sign manifests, as the marketplace offers them now.

        Example:
            >>> m.rounds.keys()
        """
        return Rows(self._api.get(_Keys, "/api/rounds/keys").keys, "Signing keys", ("key_id", "algorithm"))

    def pinned(self) -> Mapping[str, SigningKey]:
        """The keys that we trust, by id; empty before the first manifest.

        Example:
            >>> list(m.rounds.pinned())
        """
        return self._trust.pinned()

    def trust(self, key_id: str) -> None:
        """Accepts another signing key beside the pinned ones.

        Raises:
            NotFoundError: The marketplace does not offer it.

        Example:
            >>> m.rounds.trust(m.rounds.keys()[0].key_id)
        """
        self._trust.accept({key.key_id: key for key in self.keys()}, key_id)


__all__ = ["RoundView", "Rounds", "SignedManifest"]
