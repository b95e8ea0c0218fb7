"""The database, declared: SQLAlchemy Core metadata that the migrations must equal (a test proves it).

Invariants that the database itself holds:

1. At most one round is current (partial unique index), and a round's files and manifest never change (trigger).
2. A run's wire status is computed from its state; its state is one of the eight of ``docs/runs.md``; the same
   idempotency key of a vendor names one run. No arrow but those of that page can be made (trigger).
3. A signal's identity is unique, time first, so that the live edge of the index stays hot; its vendor is the vendor
   of its deployment (composite foreign key), so that wrong attribution cannot be stored.
4. The audit log, the histories of stages and of what deployments ran, validations, approvals and the receipts of
   signals can only grow (triggers).
5. A version is in prod only if the gates of that stage were met when it came there (``missing_gates``, by a
   trigger on the version and one on its history), and only the tables' owner approves.
6. An account elsewhere signs in as one vendor at most (unique).
7. Whatever ends or changes a key, a token or a vendor is told to every edge at its commit (triggers).

Money is in US dollars, times are ``timestamptz``, ids are text made in Python.
"""

from __future__ import annotations

from mp_kit.server.store.tables.base import HOUSE, metadata
from mp_kit.server.store.tables.connections import vendor_connections, vendor_data_keys
from mp_kit.server.store.tables.consensus import (
    consensus,
    consensus_settings,
    vendor_consensus,
    vendor_consensus_batches,
)
from mp_kit.server.store.tables.deployments import (
    deployment_heartbeats,
    deployment_tokens,
    deployment_versions,
    deployments,
)
from mp_kit.server.store.tables.drops import signal_drops
from mp_kit.server.store.tables.hostings import hostings
from mp_kit.server.store.tables.identities import sign_in_trips, vendor_identities
from mp_kit.server.store.tables.limits import rate_buckets
from mp_kit.server.store.tables.models import (
    model_approvals,
    model_stage_history,
    model_validations,
    model_versions,
    models,
)
from mp_kit.server.store.tables.operations import audit_log, reports
from mp_kit.server.store.tables.polling import poll_budgets, pollings, polls
from mp_kit.server.store.tables.rounds import dataset_grants, dataset_rounds, signing_keys
from mp_kit.server.store.tables.runs import (
    run_artifacts,
    run_events,
    run_logs,
    run_machines,
    run_mirrors,
    training_runs,
)
from mp_kit.server.store.tables.scores import model_scores, signal_rollups, uncounted_batches
from mp_kit.server.store.tables.sign_in import auth_codes, device_logins
from mp_kit.server.store.tables.signals import (
    signal_batches,
    signal_chains,
    signal_receipts,
    signals,
)
from mp_kit.server.store.tables.vendors import marketplace_vendors, vendor_keys
from mp_kit.server.store.tables.webhooks import webhook_deliveries, webhook_endpoints, webhook_events

__all__ = [
    "HOUSE",
    "audit_log",
    "auth_codes",
    "consensus",
    "consensus_settings",
    "dataset_grants",
    "dataset_rounds",
    "deployment_heartbeats",
    "deployment_tokens",
    "deployment_versions",
    "deployments",
    "device_logins",
    "hostings",
    "marketplace_vendors",
    "metadata",
    "model_approvals",
    "model_scores",
    "model_stage_history",
    "model_validations",
    "model_versions",
    "models",
    "poll_budgets",
    "pollings",
    "polls",
    "rate_buckets",
    "reports",
    "run_artifacts",
    "run_events",
    "run_logs",
    "run_machines",
    "run_mirrors",
    "sign_in_trips",
    "signal_batches",
    "signal_chains",
    "signal_drops",
    "signal_receipts",
    "signal_rollups",
    "signals",
    "signing_keys",
    "training_runs",
    "uncounted_batches",
    "vendor_connections",
    "vendor_consensus",
    "vendor_consensus_batches",
    "vendor_data_keys",
    "vendor_identities",
    "vendor_keys",
    "webhook_deliveries",
    "webhook_endpoints",
    "webhook_events",
]
