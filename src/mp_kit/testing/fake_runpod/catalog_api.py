"""The catalogue's operations, templates, and the bills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from mp_kit.testing.fake_runpod.api import Call, read_body, refuse, resolve
from mp_kit.testing.fake_runpod.billing import pod_bill
from mp_kit.testing.fake_runpod.cloud import Cloud
from mp_kit.testing.fake_runpod.replies import Reply, ok, problem
from mp_kit.testing.fake_runpod.requests import CreateTemplate

__all__ = ["CatalogRoutes"]


class CatalogRoutes:
    """Operations that read what there is, and what it has cost.

    Args:
        cloud: The state.
        later: Whether keys are known that came after the published contract.
    """

    def __init__(self, cloud: Cloud, *, later: bool) -> None:
        self._cloud = cloud
        self._later = later

    def routes(self, route: Callable[..., Any]) -> list[Any]:
        """The routes of this room."""
        return [
            route("GET", r"/catalog/gpus", "catalog", self.gpus),
            route("GET", r"/catalog/gpus/(.+)", "catalog", self.gpu),
            route("GET", r"/catalog/cpus", "catalog", self.cpus),
            route("GET", r"/catalog/datacenters", "catalog", self.centres),
            route("GET", r"/billing/pods", "billing", self.bill),
            route("POST", r"/templates", "template", self.create_template),
            route("GET", r"/templates", "template", self.templates),
            route("GET", r"/templates/([^/]+)", "template", self.template),
            route("DELETE", r"/templates/([^/]+)", "template", self.delete_template),
        ]

    def gpus(self, call: Call) -> Reply:
        """``GET /v2/catalog/gpus``."""
        if "include" in call.query and "product" not in call.query:
            return problem(400, "product is required with include=AVAILABILITY")
        if not call.query.get("count", "1").isdigit():
            return refuse(call, ["count: must be a number"])
        return ok({"gpus": self._cloud.catalogue.gpus(call.query)})

    def gpu(self, call: Call, name: str) -> Reply:
        """``GET /v2/catalog/gpus/{id}``."""
        kind = self._cloud.catalogue.find(unquote(name))
        return ok(self._cloud.catalogue.gpu(kind, call.query)) if kind else problem(404, "GPU type not found")

    def cpus(self, call: Call) -> Reply:
        """``GET /v2/catalog/cpus``."""
        if ("include" in call.query) != ("product" in call.query):
            return problem(400, "product is required with include=AVAILABILITY, and valid only with it")
        return ok({"cpus": self._cloud.catalogue.cpus(call.query)})

    def centres(self, call: Call) -> Reply:
        """``GET /v2/catalog/datacenters``."""
        return ok({"dataCenters": self._cloud.catalogue.centres(call.query)})

    def bill(self, call: Call) -> Reply:
        """``GET /v2/billing/pods``."""
        return pod_bill(self._cloud, call)

    def create_template(self, call: Call) -> Reply:
        """``POST /v2/templates``."""
        wanted = read_body(call, CreateTemplate, later=self._later)
        if isinstance(wanted, Reply):
            return wanted
        template_id = self._cloud.new_id(10)
        kept = resolve(wanted, None)
        self._cloud.templates[template_id] = {key: kept[key] for key in _CONTAINER if key in kept}
        flags = {name: getattr(wanted, name) for name in ("serverless", "public", "category")}
        self._told[template_id] = kept | flags | {"id": template_id, **_FLAGS}
        return ok(self._told[template_id], 201)

    def templates(self, call: Call) -> Reply:  # noqa: ARG002 - every account sees the same
        """``GET /v2/templates``."""
        return ok({"templates": list(self._told.values())})

    def template(self, call: Call, template_id: str) -> Reply:  # noqa: ARG002 - every account sees the same
        """``GET /v2/templates/{id}``."""
        found = self._told.get(template_id)
        return ok(found) if found else problem(404, "template not found")

    def delete_template(self, call: Call, template_id: str) -> Reply:  # noqa: ARG002 - every account sees the same
        """``DELETE /v2/templates/{id}``."""
        self._cloud.templates.pop(template_id, None)
        return ok(status=204) if self._told.pop(template_id, None) else problem(404, "template not found")

    @property
    def _told(self) -> dict[str, dict[str, Any]]:
        return self._cloud.told_templates


_CONTAINER = ("args", "disk", "env", "image", "ports", "registry", "entrypoint", "cmd", "mounts")
_FLAGS = {"startSsh": True, "startJupyter": True, "allowedCudaVersions": []}
