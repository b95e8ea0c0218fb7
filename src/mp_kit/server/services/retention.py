"""How long everything is kept: one list, which `maintain` works off and docs/retention.md shows.

1. Every table is in the list: what nothing forgets says why it stays.
2. Forgetting is by batches, each in a transaction of its own, so that nobody waits long for its locks; what is left
   over goes next time.
3. What proves something stays: signals, receipts, rounds, scores, stages, the ledger of money.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from mp_kit.server.services import liveness, polling
from mp_kit.server.store import webhooks
from mp_kit.server.store.engine import Database, Tx
from mp_kit.server.store.queries import named

__all__ = ["KEPT", "RULES", "Rule", "apply", "as_markdown"]

BATCH = 5_000
_BATCHES_A_RUN = 20
_FOR_EVER = "for ever"

Forget = Callable[[Tx, datetime, datetime, int], int]
"""What forgets: of a transaction, the instant before which all goes, now, and how many at most."""


@dataclass(frozen=True)
class Rule:
    """Something that is forgotten.

    Args:
        name: What it is called in the counts of a run.
        what: What it is, for people.
        tables: Whose rows go, or lose something.
        since: From when its time counts.
        days: How long it is kept; None where MP_AUDIT_DAYS says it.
        forget: Forgets at most so many.
    """

    name: str
    what: str
    tables: tuple[str, ...]
    since: str
    days: int | None
    forget: Forget


def _sql(name: str) -> Forget:
    def forget(tx: Tx, before: datetime, _: datetime, most: int) -> int:
        return tx.execute(text(named(name)), {"before": before, "most": most}).rowcount

    return forget


def _audit(tx: Tx, before: datetime, now: datetime, most: int) -> int:
    tx.execute(text("SELECT set_config('mp.forgetting', 'old entries', true)"))
    return _sql("forget_audit")(tx, before, now, most)


RULES: Sequence[Rule] = (
    Rule("heartbeats", "Heartbeats of deployments", ("deployment_heartbeats",), "they came", liveness.KEPT_DAYS,
         lambda tx, _, now, __: liveness.forget(tx, now)),
    Rule("polls", "Calls of deployments at bars' closes, and what of a day's budget they used",
         ("polls", "poll_budgets"), "the call; the newest of each market stays", polling.KEPT_DAYS,
         lambda tx, _, now, __: polling.forget(tx, now)),
    Rule("webhooks", "Webhook events and their deliveries", ("webhook_events", "webhook_deliveries"), "the event",
         30, lambda tx, _, __, most: webhooks.forget(tx, days=30, at_most=most)),
    Rule("answers", "Answers kept for a repeated `X-Idempotency-Key`, and the keys", ("signal_batches",), "the batch",
         30, _sql("forget_signal_answers")),
    Rule("consensus_answers", "The same of vendors' consensus", ("vendor_consensus_batches",), "the batch", 30,
         _sql("forget_consensus_answers")),
    Rule("run_keys", "Idempotency keys of training orders", ("training_runs",), "the run's end", 30,
         _sql("forget_run_keys")),
    Rule("run_logs", "Logs of training runs", ("run_logs",), "the run's end", 365, _sql("forget_run_logs")),
    Rule("codes", "One-time codes", ("auth_codes",), "their end", 1, _sql("forget_auth_codes")),
    Rule("devices", "Programs that waited for a person's approval, with their network addresses", ("device_logins",),
         "their end", 1, _sql("forget_device_logins")),
    Rule("trips", "Visits to GitHub that did not come back", ("sign_in_trips",), "their end", 1,
         _sql("forget_sign_in_trips")),
    Rule("keys", "API keys that were revoked or ran out", ("vendor_keys",), "their end", 90,
         _sql("forget_vendor_keys")),
    Rule("tokens", "Deployments' tokens that were revoked or ran out", ("deployment_tokens",), "their end", 90,
         _sql("forget_deployment_tokens")),
    Rule("drops", "The ledger of Parquet drops that were taken in or refused", ("signal_drops",), "their end", 90,
         _sql("forget_drops")),
    Rule("grants", "Who was given signed URLs of which round", ("dataset_grants",), "the URLs' end", 365,
         _sql("forget_grants")),
    Rule("audit", "The audit log", ("audit_log",), "the entry", None, _audit),
)  # fmt: skip
"""What is forgotten, and after how long."""

_PROOF = "signed, chained or built upon by others; of an erased vendor under its id"
KEPT: Mapping[str, str] = {
    "consensus": "what was said to the market",
    "consensus_settings": "one row",
    "dataset_rounds": "signed; runs and scores stand on them",
    "deployment_versions": "can only grow",
    "deployments": "signals are attributed to them",
    "hostings": "one row a deployment",
    "marketplace_vendors": "until erased, then its id",
    "model_approvals": "can only grow",
    "model_scores": "the record of a deployment",
    "model_stage_history": "can only grow",
    "model_validations": "can only grow",
    "model_versions": "signals name them",
    "models": "signals name them",
    "pollings": "one row a deployment",
    "rate_buckets": "not for ever: each goes once it is full again, and all with a crash",
    "reports": "until the operator removes them",
    "run_artifacts": "models were made of them",
    "run_events": "the run's history",
    "run_machines": "the ledger of money",
    "run_mirrors": "one row a run",
    "signal_chains": _PROOF,
    "signal_receipts": _PROOF,
    "signal_rollups": "counts",
    "signals": _PROOF,
    "signing_keys": "old signatures are checked with them",
    "uncounted_batches": "until they are counted",
    "vendor_connections": "until the vendor removes them, or is erased",
    "vendor_consensus": _PROOF,
    "vendor_data_keys": "as long as a connection needs them",
    "vendor_identities": "until unlinked, or erased",
    "webhook_endpoints": "until the vendor removes them, or is erased",
}
"""Tables that nothing forgets, each with the reason."""

OBJECTS: Sequence[tuple[str, str]] = (
    ("Uploads that nobody took in (`staged/`)", "30 days"),
    ("What killed puts and uploads in parts left", "7 days"),
    ("Objects of rounds, runs and reports", _FOR_EVER),
)


def apply(db: Database, now: datetime, *, audit_days: int) -> dict[str, int]:
    """Forgets what is beyond its time.

    Args:
        db: Transactions.
        now: An aware instant.
        audit_days: How long entries of the audit log are kept; 0 is for ever.

    Returns:
        How many of each went, of those that did.
    """
    gone = {}
    for rule in RULES:
        days = audit_days if rule.days is None else rule.days
        if days:
            gone[rule.name] = _work_off(db, rule, now - timedelta(days=days), now)
    return {name: count for name, count in gone.items() if count}


def as_markdown(audit_days: int) -> str:
    """The table of docs/retention.md."""
    lines = ["| what | kept | from | tables |", "|---|---|---|---|"]
    for rule in RULES:
        days = f"{audit_days:,} days (`MP_AUDIT_DAYS`; 0 is for ever)" if rule.days is None else _days(rule.days)
        lines.append(f"| {rule.what} | {days} | {rule.since} | {', '.join(f'`{one}`' for one in rule.tables)} |")
    lines += [f"| {what} | {kept} | last touched | the object store |" for what, kept in OBJECTS]
    lines += [f"| `{table}` | {_FOR_EVER} | | {why} |" for table, why in KEPT.items()]
    return "\n".join(lines)


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _work_off(db: Database, rule: Rule, before: datetime, now: datetime) -> int:
    gone = 0
    for _ in range(_BATCHES_A_RUN):
        with db.begin() as tx:
            few = rule.forget(tx, before, now, BATCH)
        gone += few
        if few < BATCH:
            break
    return gone
