"""The job templates of work pools, held against what Prefect's own workers know."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import pytest

from mp_kit.server import bundle

POOLS = bundle.root() / "deployments" / "pools"
HOMES = {"process": "prefect", "docker": "prefect-docker", "kubernetes": "prefect-kubernetes"}
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|PEPPER|SEED|_KEY\b|DATABASE_URL")


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """The templates that Prefect ships for its workers."""
    views = files("prefect.server.api.collections_data") / "views" / "aggregate-worker-metadata.json"
    found: dict[str, Any] = json.loads(views.read_text())
    return {kind: found[home][kind]["default_base_job_configuration"] for kind, home in HOMES.items()}


def template(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((POOLS / f"{kind}.json").read_text())
    return found


def placeholders(part: Any) -> set[str]:
    """Each ``{{ name }}`` in it."""
    return set(re.findall(r"{{ (\w+) }}", json.dumps(part)))


@pytest.mark.parametrize("kind", HOMES)
def test_template_is_one_that_its_worker_reads(kind: str, known: dict[str, Any]):
    """No key of the worker's is made up, each placeholder is a variable, and each variable is used and described."""
    ours = template(kind)
    properties = ours["variables"]["properties"]
    assert set(ours["job_configuration"]) <= set(known[kind]["job_configuration"])
    assert set(properties) == placeholders(ours["job_configuration"])
    assert [] == [name for name, field in properties.items() if not (field["title"] and field["description"])]


@pytest.mark.parametrize("kind", HOMES)
def test_defaults_are_of_their_own_types(kind: str):
    """Prefect checks what people override, not what the template itself says."""
    from jsonschema import Draft202012Validator

    for name, field in template(kind)["variables"]["properties"].items():
        if "default" in field:
            assert [] == list(Draft202012Validator(field).iter_errors(field["default"])), name


@pytest.mark.parametrize("kind", HOMES)
def test_no_secret_has_a_place_that_prefect_shows(kind: str):
    """The environment of a template is shown to whoever sees the pool."""
    shown = template(kind)["variables"]["properties"]["env"].get("default", {})
    assert [] == [name for name in shown if _SECRET.search(name)]


@pytest.mark.parametrize("kind", HOMES)
def test_deployments_fit_the_template(kind: str):
    """What deployments/prefect.yaml sets is a variable of each pool."""
    import yaml

    listed = yaml.safe_load((bundle.root() / bundle.DEPLOYMENTS).read_text())["deployments"]
    used = {name for entry in listed for name in entry["work_pool"].get("job_variables", {})}
    assert used <= set(template(kind)["variables"]["properties"])


def test_kubernetes_job_has_no_rights_to_spare():
    """Nobody's root, nothing to write but /tmp, no account of the cluster, an end."""
    spec = template("kubernetes")["job_configuration"]["job_manifest"]["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert (True, False, "Never") == (
        pod["securityContext"]["runAsNonRoot"],
        pod["automountServiceAccountToken"],
        pod["restartPolicy"],
    )
    assert (False, True, ["ALL"]) == (
        container["securityContext"]["allowPrivilegeEscalation"],
        container["securityContext"]["readOnlyRootFilesystem"],
        container["securityContext"]["capabilities"]["drop"],
    )
    assert {"scratch"} == {mount["name"] for mount in container["volumeMounts"]}
    assert {"backoffLimit": 0, "activeDeadlineSeconds": "{{ deadline_seconds }}"}.items() <= spec.items()


def test_worker_image_is_what_the_templates_name():
    """Its folder, its user and its version are those of the templates."""
    from mp_kit.version import __version__

    lines = (bundle.root() / "deployments" / "worker.Dockerfile").read_text().splitlines()
    assert {"USER 1000:1000", "WORKDIR /app", "COPY flows ./flows", "COPY deployments ./deployments"} <= set(lines)
    images = {template(kind)["variables"]["properties"]["image"]["default"] for kind in ("docker", "kubernetes")}
    assert {f"mp-worker:{__version__}"} == images
    assert (
        "/app"
        == template("kubernetes")["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"][0][
            "workingDir"
        ]
    )
