"""The operator ends a key or a token by its id."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, text

from mp_kit.errors import NotFoundError
from mp_kit.server.services import audit
from mp_kit.server.services.tokens import REVOCATIONS
from mp_kit.server.store import tokens as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.vendors import now

_PREFIXES = ("vk", "sit")


def revoke(tx: Tx, named: str, *, actor: str) -> str:
    """Ends a vendor's key or a deployment's token at once, in every process; a key takes its vendor's sessions along.

    Args:
        tx: One transaction.
        named: Its id, or the whole token, of which only the id is used.
        actor: Who ends it.

    Returns:
        Its id.

    Raises:
        NotFoundError: There is none.
    """
    kind, _, rest = named.strip().partition("_")
    token_id = rest.partition("_")[0] if kind in _PREFIXES else named.strip()
    if not rows.revoke(tx, token_id, now(tx)):
        raise NotFoundError("There is no such key or token.", hint="Name it by its id: the part behind vk_ or sit_.")
    rows.end_sessions(tx, token_id)
    audit.record(tx, actor, "token.revoke", token_id)
    return token_id


def listeners(tx: Tx) -> list[Row[Any]]:
    """The processes that hear of a revocation at once: their database connection's ``pid``, and ``since`` when.

    These are the edges. Whoever does not listen remembers no token, but asks the database each time.
    """
    return list(tx.execute(text(named("revocation_listeners")), {"channel": REVOCATIONS}))
