"""Contracts that have no verbs of their own, made to read well: a card of what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from mp_kit.client import html
from mp_kit.client import run_words as words
from mp_kit.client.results import Shown, counted, plain_table
from mp_kit.contracts.deployments import HeartbeatReceipt
from mp_kit.contracts.estimates import Estimate
from mp_kit.contracts.keys import RevokedKeys
from mp_kit.contracts.lineage import Lineage, ValidationNote
from mp_kit.contracts.models import CatalogEntry
from mp_kit.contracts.rounds import Manifest
from mp_kit.contracts.scores import LeaderboardEntry
from mp_kit.contracts.signals import Signal
from mp_kit.contracts.system import ServiceHealth
from mp_kit.contracts.training import RunEnvironment, RunLogs, TrainingRun

VERSIONS = ("version", "stage", "from_run", "gates_met", "deployments", "signals", "created_at")
OFFERS = ("name", "cloud", "stock", "price_per_hour_usd", "worst_case_usd", "fits")


class ManifestView(Shown, Manifest):
    """A manifest whose signature holds."""

    def _title(self) -> str:
        return f"Manifest of {self.round_id}; its signature holds"

    def _facts(self) -> Mapping[str, Any]:
        names = ("name", "description", "timeframe", "symbols", "horizon", "embargo", "created_at", "code_version")
        facts = {name: getattr(self, name) for name in names}
        features = ", ".join(str(feature.get("name")) for feature in self.features)
        return {**facts, "source": self.source.get("kind"), "features": features, "files": len(self.files)}


class HealthView(Shown, ServiceHealth):
    """How the marketplace is."""

    def _title(self) -> str:
        return f"The marketplace is {self.status}"

    def _facts(self) -> Mapping[str, Any]:
        return {"service": self.service, "version": self.version, "timestamp": self.timestamp}


class EstimateView(Shown, Estimate):
    """What a run would cost."""

    def _title(self) -> str:
        worst = "no machine fits" if self.worst_case_usd is None else f"{words.money(self.worst_case_usd)} at the most"
        return f"Estimate on {self.provider.value}: {worst}; nothing is ordered"

    def _facts(self) -> Mapping[str, Any]:
        ceiling = self.monthly_ceiling_usd
        month = None if ceiling is None else f"{words.money(self.committed_usd)} of {words.money(ceiling)} committed"
        bound = None if self.max_cost_usd is None else words.money(self.max_cost_usd)
        return {"hours": self.max_hours, "bound": bound, "this month": month, "would be refused": self.refusal}

    def _offers(self) -> list[dict[str, Any]]:
        return [offer.model_dump() for offer in self.offers]

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n{plain_table(self._offers(), OFFERS)}"

    def _repr_html_(self) -> str:
        return html.card(self._title(), self._facts(), html.table(self._offers(), OFFERS, "Machines, in this order"))


class LineageView(Shown, Lineage):
    """Where a model comes from and what came of it, version by version."""

    def _title(self) -> str:
        return f"Lineage of {self.name} ({self.task.value})"

    def _versions(self) -> list[dict[str, Any]]:
        return [
            {"version": one.version, "stage": one.stage, "created_at": one.created_at}
            | {"from_run": one.run.run_id if one.run else None}
            | {"gates_met": f"{sum(gate.met for gate in one.gates)} of {len(one.gates)}"}
            | {"deployments": [served.name for served in one.deployments]}
            | {"signals": sum(served.signals for served in one.deployments)}
            for one in self.versions
        ]

    def _facts(self) -> Mapping[str, Any]:
        return {"model_id": self.model_id}

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n{plain_table(self._versions(), VERSIONS)}"

    def _repr_html_(self) -> str:
        return html.card(self._title(), self._facts(), html.table(self._versions(), VERSIONS, "Versions"))


class ValidationView(Shown, ValidationNote):
    """A stored validation."""


class BeatView(Shown, HeartbeatReceipt):
    """The receipt of a heartbeat."""

    def _title(self) -> str:
        return "Heartbeat stored"


class RevokedView(Shown, RevokedKeys):
    """What a revocation ended."""

    def _title(self) -> str:
        return f"Revoked {counted(len(self.revoked), 'key')}; every session ended with them"


class EnvironmentView(Shown, RunEnvironment):
    """What a job needs in its environment; the values are in ``env`` and never shown."""

    env: dict[str, str] = Field(repr=False)

    def _title(self) -> str:
        return f"Environment of run {self.run_id}"

    def _facts(self) -> Mapping[str, Any]:
        return {"deadline": self.deadline, "env": f"{', '.join(sorted(self.env))}: values hidden, in .env"}


class LogPage(Shown, RunLogs):
    """A page of a run's log, as it was written."""

    def __repr__(self) -> str:
        more = "" if self.complete else f"\n(more: .logs({self.next}))"
        return "\n".join(line.text for line in self.lines) + more if self.lines else f"no lines{more}"

    def _repr_html_(self) -> str:
        return html.log_lines([repr(self)])


class RunRecord(Shown, TrainingRun):
    """A run as a list shows it; ``m.train[run_id]`` is the run in your hands."""

    def _title(self) -> str:
        return f"Run {self.run_id}: {self.status.value}"

    def _facts(self) -> Mapping[str, Any]:
        names = ("task", "round_id", "provider", "machine", "created_at", "finished_at", "failure")
        verbs = f"m.train[{self.run_id!r}].watch(), .plot(), .download()"
        return {name: getattr(self, name) for name in names} | {"cost": words.cost(self), "in your hands": verbs}


class SignalView(Shown, Signal):
    """A stored signal."""

    def _title(self) -> str:
        return f"Signal {self.symbol} {self.timeframe.value}: {self.decision.value}"


class StandingView(Shown, LeaderboardEntry):
    """A deployment's score on a round."""

    def _title(self) -> str:
        return f"Score of {self.deployment} on {self.round_id}"

    def _facts(self) -> Mapping[str, Any]:
        flat = {name: value for name, value in standing_row(self).items() if name != "deployment"}
        return flat | {"not enough data": _with_late(self, self.reason), "computed_at": self.computed_at}


def standing_row(entry: LeaderboardEntry) -> dict[str, Any]:
    """A line of the boards: a model has one for each timeframe, and where it has no score yet, why."""
    row = entry.flat() | {"timeframe": entry.card.basis.timeframe.value}
    return row if entry.card.sharpe.value is not None else row | {"sharpe": _with_late(entry, row["sharpe"])}


def _with_late(entry: LeaderboardEntry, reason: str | None) -> str | None:
    late = entry.card.basis.left_out.get("late")
    return f"{reason} ({late} late)" if reason and late else reason


class CatalogView(Shown, CatalogEntry):
    """A model in the public catalogue."""

    def _title(self) -> str:
        return f"Model {self.name} of {self.vendor} ({self.stage.value})"
