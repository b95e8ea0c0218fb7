"""The Kubernetes manifests of `deployments/kubernetes`, as the tests of the deployment files read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from paperwork import ROOT

from mp_kit.server.edge import health

FOLDER = ROOT / "deployments"
MANIFESTS = sorted(set((FOLDER / "kubernetes").glob("*.yaml")) - {FOLDER / "kubernetes" / "kustomization.yaml"})
IMAGES = sorted(FOLDER.glob("*.Dockerfile"))
OURS = ("mp-edge", "mp-worker")


def documents() -> list[dict[str, Any]]:
    """Every manifest."""
    return [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def pods() -> dict[str, dict[str, Any]]:
    """Specs of pods by the name of what makes them."""
    makers = {one["metadata"]["name"]: one["spec"] for one in documents() if one["kind"] in {"Deployment", "Job"}}
    nightly = {
        one["metadata"]["name"]: one["spec"]["jobTemplate"]["spec"] for one in documents() if one["kind"] == "CronJob"
    }
    return {name: spec["template"]["spec"] for name, spec in (makers | nightly).items()}


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each container, with its pod's name; those that only prepare, too."""
    for name, pod in pods().items():
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield name, container


def named(kind: str, name: str) -> dict[str, Any]:
    """One manifest."""
    [found] = [one for one in documents() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def routes() -> set[str]:
    """The edge's routes of health."""
    return {path for handler in health.HANDLERS for path in handler.paths}
