"""Passes: tokens for servers that ask their callers whether they may, minted for one round of asking.

A pass is a token of the deployment with no route in its scope: it is good for being asked about, and for nothing else.
It ends soon after its round, and its row goes with the round.
"""

from __future__ import annotations

import threading
from datetime import timedelta

from mp_kit.server.services.tokens import TokenBook
from mp_kit.server.store import tokens as rows
from mp_kit.server.store.engine import Database
from mp_kit.server.store.vendors import now as stored_now

__all__ = ["Passes"]

_AFTERWARDS = timedelta(minutes=2)


class Passes:
    """Passes of one round.

    Args:
        db: Transactions.
        tokens: Mints.
        seconds: How long the round is.
    """

    def __init__(self, db: Database, tokens: TokenBook, seconds: float) -> None:
        self._db, self._tokens = db, tokens
        self._lives = timedelta(seconds=seconds) + _AFTERWARDS
        self._lock = threading.Lock()
        self._minted: dict[str, tuple[str, str]] = {}

    def of(self, vendor_id: str, deployment_id: str) -> str:
        """The pass of a deployment; minted when it is first wanted."""
        with self._lock:
            if deployment_id not in self._minted:
                self._minted[deployment_id] = self._mint(vendor_id, deployment_id)
            return self._minted[deployment_id][1]

    def close(self) -> None:
        """Takes the passes back."""
        if self._minted:
            with self._db.begin() as tx:
                rows.forget_deployment_tokens(tx, [token_id for token_id, _ in self._minted.values()])

    def _mint(self, vendor_id: str, deployment_id: str) -> tuple[str, str]:
        minted = self._tokens.mint("sit")
        with self._db.begin() as tx:
            values = {"id": minted.token_id, "deployment_id": deployment_id, "vendor_id": vendor_id}
            scope = {"routes": [], "deployment": deployment_id, "label": "poll"}
            ends = stored_now(tx) + self._lives
            rows.insert_deployment_token(
                tx, values | {"token_hash": minted.token_hash, "scope": scope, "expires_at": ends}
            )
        return minted.token_id, minted.token
