"""Models: register versions, move them from stage to stage."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mp_kit.client.desk import Keyed, names_of, the_one
from mp_kit.client.http import Api, Call, path, read
from mp_kit.client.invalid import invalid
from mp_kit.client.results import Rows, Shown
from mp_kit.client.views import LineageView, ValidationView
from mp_kit.contracts.common import Model, Task
from mp_kit.contracts.models import ModelRegistration, RegisteredModel, Stage, StageChange
from mp_kit.contracts.validation import ValidationReport
from mp_kit.errors import NotFoundError

MODELS = "/api/vendors/models"


class RegisteredView(Shown, RegisteredModel):
    """A registered version."""

    version: str | None = None
    """Its name, which the marketplace does not repeat; other calls take it as well as its id."""
    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"Model {self.model_id}"

    def _facts(self) -> Mapping[str, Any]:
        return {"version": self.version, "version_id": self.version_id, "stage": self.stage}


class OwnModel(Shown, Model):
    """A model of the vendor's, as its list shows it."""

    id: str
    name: str
    task: Task | None = None
    description: str = ""
    stage: Stage | None = None
    versions: int | None = None

    def _title(self) -> str:
        return f"Model {self.name}"


class Models(Keyed):
    """The vendor's models.

    Example:
        >>> model = m.models.register("trend", "signal", "1.0.0", run_id=run.run_id)
        >>> m.models.promote(model.model_id, model.version_id, "pilot")
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def __repr__(self) -> str:
        return f"Models at {self._api.base_url}: register(name, task, version), promote(model, version, stage), list()"

    def __getitem__(self, model: str) -> OwnModel:
        return self.find(model)

    def _names(self, api: Api) -> builtins.list[str]:
        return names_of(api.pages(OwnModel, MODELS, 100), "name")

    def register(
        self,
        name: str,
        task: str | Task,
        version: str,
        *,
        description: str = "",
        run_id: str | None = None,
        deployment_id: str | None = None,
        hf_repo_id: str | None = None,
    ) -> RegisteredView:
        """Registers a version of a model; the model is made with its first version.

        Raises:
            InvalidInputError: A value breaks the contract; nothing was sent.
            ConflictError: The version exists already.

        Example:
            >>> m.models.register("trend", "signal", "1.0.0", run_id=run.run_id)
        """
        wanted = make_registration(
            name=name,
            description=description,
            task=task,
            version=version,
            run_id=run_id,
            deployment_id=deployment_id,
            hf_repo_id=hf_repo_id,
        )
        return self.submit(wanted)

    def submit(self, wanted: ModelRegistration, *, idempotency_key: str | None = None) -> RegisteredView:
        """Registers out of a ready contract; a version is its name, so that repeating answers with the same ids.

        Example:
            >>> m.models.submit(make_registration(name="trend", task="signal", version="1.0.0"))
        """
        body = wanted.model_dump(mode="json", exclude_none=True)
        call = Call("POST", MODELS, json=body, idempotency_key=idempotency_key, repeatable=True)
        return read(RegisteredView, self._api.send(call), MODELS).model_copy(update={"version": wanted.version})

    def promote(self, model_id: str, version_id: str, stage: str | Stage, reason: str | None = None) -> RegisteredView:
        """Moves a version to another stage: shadow, pilot, prod or retired.

        Raises:
            ConflictError: The present stage does not lead there.

        Example:
            >>> m.models.promote(model.model_id, model.version_id, "pilot", reason="steady for a month")
        """
        try:
            body = StageChange.model_validate({"stage": stage, "reason": reason})
        except ValidationError as error:
            raise invalid("The stage", error) from None
        where = path("vendors", "models", model_id, "versions", version_id)
        call = Call("PATCH", where, json=body.model_dump(mode="json", exclude_none=True))
        return read(RegisteredView, self._api.send(call), where)

    def note_validation(self, model_id: str, version: str, report: ValidationReport) -> ValidationView:
        """Stores what `mp validate` found with a version: the gate ``validated``.

        Example:
            >>> m.models.note_validation(model.model_id, "1.0.0", report)
        """
        where = path("vendors", "models", model_id, "versions", version, "validations")
        call = Call("POST", where, json=report.model_dump(mode="json"), repeatable=True)
        return read(ValidationView, self._api.send(call), where)

    def lineage(self, model_id: str) -> LineageView:
        """Where a model comes from and what came of it: run, artifacts, version, gates, deployments, signals.

        Example:
            >>> m.models.lineage(model.model_id)
        """
        return self._api.get(LineageView, path("vendors", "models", model_id, "lineage"))

    def find(self, model: str) -> OwnModel:
        """A model of the vendor's by id or by name.

        Raises:
            NotFoundError: There is none.

        Example:
            >>> m.models.find("trend")
        """
        found: OwnModel | None = the_one(self.list(), model, "id", "name")
        if found is None:
            raise NotFoundError(f"You have no model {model!r}.", hint="See yours: m.models.list(), or mp models list")
        return found

    def list(self, limit: int = 100) -> Rows[OwnModel]:
        """The vendor's models.

        Example:
            >>> m.models.list()
        """
        return Rows(self._api.pages(OwnModel, MODELS, limit), "Models", ("id", "name", "task", "stage", "versions"))


def make_registration(**fields: Any) -> ModelRegistration:
    """Builds a registration out of its fields.

    Raises:
        InvalidInputError: A value breaks the contract; all findings are told.
    """
    try:
        return ModelRegistration.model_validate(fields)
    except ValidationError as error:
        raise invalid("The model", error) from None
