"""`deployments/`: linters find nothing, and whatever the files name is there: commands, settings, routes, ports, paths.

No Docker engine and no cluster is to be had where tests run. What the images' recipes do is run by
``tests/acceptance/test_images.py``, and the roles by ``tests/postgres/test_roles.py``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from paperwork import ROOT, mp_calls, prefect_names, refusal, settings_names

from mp_kit.server.edge import health
from mp_kit.version import __version__

FOLDER = ROOT / "deployments"
IMAGES = sorted(FOLDER.glob("*.Dockerfile"))
MANIFESTS = sorted(set((FOLDER / "kubernetes").glob("*.yaml")) - {FOLDER / "kubernetes" / "kustomization.yaml"})
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
OURS = ("mp-edge", "mp-worker")
OTHERS = {"POOL_IMAGE", "MP_OWNER_PASSWORD", "MP_EDGE_PASSWORD", "MP_PREFECT_PASSWORD"}
"""Read by our own scripts: flows.yaml's command, roles.sql."""
PREFECT_KUBERNETES = {
    "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME",
    "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY",
    "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES",
}
"""Of prefect-kubernetes 0.8.0's ``KubernetesSettings``; the tests' environment has no Kubernetes worker."""
THEIRS = ("POSTGRES_", "MINIO_", "MC_")
SECRET = re.compile(
    r"PASSWORD|SECRET_(ACCESS_)?KEY$|TOKEN|PEPPER|SEED|JWT|AUTH_STRING$|_KEY$|DATABASE_URL|CONNECTION_URL"
)


def documents() -> list[dict[str, Any]]:
    """Every manifest."""
    return [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def pods() -> dict[str, dict[str, Any]]:
    """Specs of pods by the name of what makes them."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in documents()
        if one["kind"] in {"Deployment", "Job"}
    }


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each container, with its pod's name; those that only prepare, too."""
    for name, pod in pods().items():
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield name, container


def named(kind: str, name: str) -> dict[str, Any]:
    """One manifest."""
    [found] = [one for one in documents() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def odd_in_compose(document: Any) -> list[str]:
    """What the schema of compose files has against it."""
    from jsonschema.validators import validator_for

    spec = importlib.util.find_spec("check_jsonschema")  # its schemas; to import it takes seconds
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    return [error.message for error in validator_for(schema)(schema).iter_errors(document)]


def test_hadolint_finds_nothing():
    """In any Dockerfile."""
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), *IMAGES], capture_output=True, text=True, check=False
    )
    assert (0, "") == (done.returncode, done.stdout)


def test_compose_keeps_its_schema():
    """That of the Compose specification; a misspelt word would not."""
    assert [] == odd_in_compose(COMPOSE)
    wrong = json.loads(json.dumps(COMPOSE).replace("depends_on", "depend_on"))
    assert [] != odd_in_compose(wrong)


def test_manifests_keep_their_schemas():
    """Kubernetes' own, strictly: a misspelt word is refused. Nothing is fetched."""
    kubernetes = importlib.import_module("kubernetes_validate")
    for one in documents():
        kubernetes.validate(one, "1.37", strict=True)
    wrong = json.loads(json.dumps(named("Deployment", "mp-edge")).replace("maxSurge", "maxSurges"))
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(wrong, "1.37", strict=True)


# Images


def instructions(image: Path) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile with their arguments, in order."""
    text = "\n".join(line for line in image.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", text)
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_image_is_bounded(image: Path):
    """Two stages from one base with its exact version, everything by hash, nobody's root at the end, no secret."""
    steps = instructions(image)
    [base] = [rest for word, rest in steps if word == "ARG"]
    assert re.fullmatch(r"BASE=python:3\.11\.\d+-slim-[a-z]+", base)
    assert ["${BASE} AS build", "${BASE}"] == [rest for word, rest in steps if word == "FROM"]
    last = steps[steps.index(("FROM", "${BASE}")) :]
    assert [("USER", "1000:1000")] == [step for step in steps if step[0] == "USER"]
    assert "RUN" not in [word for word, _ in last[last.index(("USER", "1000:1000")) :]]
    installs = [part for word, rest in steps if word == "RUN" for part in re.findall(r"pip install [^&]+", rest)]
    assert 3 == len(installs)
    assert all("requirements/" in install for install in installs)
    assert [] == [step for step in steps if step[0] in {"ENV", "ARG"} and SECRET.search(step[1].split("=")[0])]
    assert "HEALTHCHECK" in [word for word, _ in last]


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_image_copies_what_is_there(image: Path):
    """From the checkout, and let through by .dockerignore, which lets nothing else through."""
    copied = {
        name
        for word, rest in instructions(image)
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" == next(line for line in ignored if not line.startswith("#"))
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert [] == [name for name in copied if not (ROOT / name).exists()]
    assert set() == {name for name in copied if not any(Path(name).is_relative_to(each) for each in let_in)}
    assert {"src", "flows", "deployments", "docs", "notebooks/reports", "pyproject.toml", "README.md"} <= copied


def started(command: list[str]) -> str:
    """What is wrong with a command line of ours, if anything; the shells' one by one."""
    if command[:1] == ["sh"]:
        return "\n".join(filter(None, (started(shlex.split(line)) for line in re.split(r"\n|&&", command[-1]) if line)))
    words = [word for word in command if word != "exec"]
    if words[0] == "mp":
        [call] = mp_calls(shlex.join(words))
        return refusal(call)
    if words[:2] == ["python", "-m"]:
        return "" if (ROOT / "src" / words[2].replace(".", "/")).with_suffix(".py").is_file() else f"no {words[2]}"
    files = [word for word in words if word.startswith(("deployments/", "flows/"))]
    assert words[0] in {"prefect", "sed"}, words
    return "" if all((ROOT / name).is_file() for name in files) else f"no such file: {files}"


def test_commands_exist():
    """Each command that an image, a service or a container of ours starts is one of ours, with real options."""
    cmds = [json.loads(rest) for image in IMAGES for word, rest in instructions(image) if word == "CMD"]
    services = [one["command"] for one in COMPOSE["services"].values() if is_ours(one) and "command" in one]
    args = [container["args"] for _, container in containers() if "args" in container]
    assert (2, 4, 5) == (len(cmds), len(services), len(args))
    assert [] == [wrong for wrong in map(started, [*cmds, *services, *args]) if wrong]
    assert "" != started(["mp", "admin", "migrate", "--no-such-option"])


@pytest.mark.parametrize("command", ["worker start", "work-pool create", "server start", "deploy"])
def test_prefects_options_exist(command: str):
    """Prefect's own, by the source of its commands: to start them costs seconds."""
    spec = importlib.util.find_spec("prefect")
    assert spec is not None
    assert spec.origin is not None
    source = "\n".join(path.read_text() for path in (Path(spec.origin).parent / "cli").rglob("*.py"))
    texts = [*map(Path.read_text, IMAGES), *map(Path.read_text, MANIFESTS), (FOLDER / "compose.yaml").read_text()]
    joined = re.sub(r"[\"',\[\]]", "", "\n".join(texts))
    used = {flag for call in re.findall(rf"{command} (.*)", joined) for flag in re.findall(r"--([a-z-]+)", call)}
    assert used
    assert set() == {flag for flag in used if f'"--{flag}"' not in source and flag.replace("-", "_") not in source}


# Settings and secrets


def is_ours(service: dict[str, Any]) -> bool:
    return str(service["image"]).startswith(OURS)


def variables() -> dict[str, set[str]]:
    """Names that each file sets."""
    services = {f"compose {n}": set(one.get("environment", ())) for n, one in COMPOSE["services"].items()}
    files = {f"secrets {name}": set(lines) for name, lines in drawn_names().items()}
    inside = {f"kubernetes {n}": {each["name"] for each in one.get("env", ())} for n, one in containers()}
    images = {
        image.name: {word.split("=")[0] for word in rest.split()}
        for image in IMAGES
        for instruction, rest in instructions(image)
        if instruction == "ENV"
    }
    return {**services, **files, **inside, **images, "settings.yaml": set(named("ConfigMap", "mp-settings")["data"])}


def drawn_names() -> dict[str, list[str]]:
    text = (FOLDER / "secrets.sh").read_text(encoding="utf-8")
    blocks = dict(re.findall(r'cat > "\$folder/(\S+)\.env" << END\n(.*?)END\n', text, re.DOTALL))
    both = blocks.pop("$name")
    blocks |= {"edge": both, "operator": f"{both}PREFECT_API_AUTH_STRING="}
    return {name: re.findall(r"^([A-Z_0-9]+)=", block, re.MULTILINE) for name, block in blocks.items()}


def test_every_variable_is_read_by_somebody():
    """By our settings, by Prefect's, or by the program whose image it is."""
    others = {"PATH", "PYTHONUNBUFFERED", "MPLCONFIGDIR", "XDG_CACHE_HOME", "MP_RUN_DIR"}
    known = settings_names() | prefect_names() | PREFECT_KUBERNETES | OTHERS | others
    unknown = {
        place: left
        for place, names in variables().items()
        if (left := {name for name in names - known if not name.startswith(THEIRS)})
    }
    assert {} == unknown


def test_no_secret_is_in_a_file():
    """Not in compose.yaml and not in a manifest: they are named there, and lie in files that git ignores."""
    values = dict(named("ConfigMap", "mp-settings")["data"])
    values |= {k: v for one in COMPOSE["services"].values() for k, v in one.get("environment", {}).items()}
    values |= {each["name"]: each["value"] for _, one in containers() for each in one.get("env", ()) if "value" in each}
    named_only = PREFECT_KUBERNETES  # these hold a secret's name and a key in it
    assert [] == [name for name in values if SECRET.search(name) and name not in named_only]
    assert "Secret" not in {one["kind"] for one in documents()}
    assert "secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What deployments/secrets.sh draws for a managed Postgres and a store that exists."""
    folder = tmp_path_factory.mktemp("drawn") / "secrets"
    env = {"PATH": "/usr/bin:/bin", "MP_POSTGRES": "db.example.com:5432", "MP_POSTGRES_TLS": "require"}
    env |= {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "given"}
    command = [str(FOLDER / "secrets.sh"), str(folder)]
    subprocess.run(command, env=env, capture_output=True, check=True)
    again = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (1, True) == (again.returncode, "is there already" in again.stderr)
    return folder


def read(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())


def test_drawn_secrets_start_a_marketplace(drawn: Path):
    """They are read as settings, no two are alike, and only their owner reads the files."""
    from mp_kit.server.settings import SECRET_NAMES, load
    from mp_kit.server.strength import weaknesses

    env = read(drawn / "operator.env")
    settings = load(drawn / "no-home", env)
    assert "postgresql://mp_owner:" in settings.database_url
    assert settings.database_url.endswith("@db.example.com:5432/marketplace?sslmode=require")
    assert 32 == len(settings.signing_seed_bytes)
    assert {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "given"} == dict(settings.store_env)
    assert len(SECRET_NAMES) == len({env[name] for name in SECRET_NAMES})
    edge = load(drawn / "no-home", read(drawn / "edge.env"))
    assert settings == replace(edge, database_url=settings.database_url)
    assert "postgresql://mp_edge:" in edge.database_url
    assert {} == weaknesses(settings) == weaknesses(edge)
    assert {"0o600"} == {oct(path.stat().st_mode & 0o777) for path in drawn.iterdir()}


def test_drawn_passwords_are_those_of_the_roles(drawn: Path):
    """Whoever connects has the password that roles.sql gives its role; Prefect's two ends have the same."""
    from urllib.parse import urlsplit

    passwords, env, edge, prefect = (
        read(drawn / f"{name}.env") for name in ("postgres", "operator", "edge", "prefect")
    )
    urls = {
        "MP_OWNER_PASSWORD": env["MP_DATABASE_URL"],
        "MP_EDGE_PASSWORD": edge["MP_DATABASE_URL"],
        "MP_PREFECT_PASSWORD": prefect["PREFECT_API_DATABASE_CONNECTION_URL"],
    }
    assert {name: passwords[name] for name in urls} == {name: urlsplit(url).password for name, url in urls.items()}
    assert env["PREFECT_API_AUTH_STRING"] == prefect["PREFECT_SERVER_API_AUTH_STRING"]


# Compose


def test_compose_names_files_and_services_that_there_are():
    """Build contexts, mounts, secrets that are drawn, services that are waited for."""
    services = COMPOSE["services"]
    for name, one in services.items():
        assert set(one.get("depends_on", ())) <= set(services), name
        assert [] == [each for each in one.get("env_file", ()) if each not in drawn_files()]
        mounts = [str(each).split(":")[0] for each in one.get("volumes", ())]
        assert [] == [each for each in mounts if each.startswith(".") and not (FOLDER / each).is_file()]
        assert {each for each in mounts if not each.startswith(".")} <= set(COMPOSE["volumes"])
        if "build" in one:
            assert (FOLDER / one["build"]["context"] / one["build"]["dockerfile"]).is_file()


def drawn_files() -> set[str]:
    return {f"../secrets/{name}.env" for name in drawn_names()}


def test_compose_services_are_watched_and_bounded():
    """Each is asked, or ends; each but Postgres writes into volumes alone; none is reached from elsewhere."""
    once = {"migrate", "flows", "bucket"}
    for name, one in COMPOSE["services"].items():
        assert ("no" if name in once else "unless-stopped") == one["restart"], name
        assert name in once | {"worker"} or "test" in one["healthcheck"], name  # the worker's is its image's
        assert name == "postgres" or (one["read_only"], one["cap_drop"]) == (True, ["ALL"]), name
        assert all(str(port).startswith("127.0.0.1:") for port in one.get("ports", ())), name
        assert re.search(r":.*\d", one["image"]), name


def test_compose_has_two_edges_behind_a_balancer():
    """Alike, ready by the edge's own word, at the port that the balancer asks."""
    services, caddy = COMPOSE["services"], (FOLDER / "compose" / "Caddyfile").read_text(encoding="utf-8")
    assert services["edge-a"] == services["edge-b"]
    [proxied] = re.findall(r"reverse_proxy (.*) {", caddy)
    assert ["edge-a:3010", "edge-b:3010"] == proxied.split()
    assert re.search(r"health_uri (\S+)", caddy)[1] in routes()  # type: ignore[index] # it is there
    [subnet] = COMPOSE["networks"]["inside"]["ipam"]["config"]
    assert subnet["subnet"] == services["edge-a"]["environment"]["MP_TRUSTED_PROXIES"]


# Health and ports


def routes() -> set[str]:
    """The edge's routes of health."""
    return {path for handler in health.HANDLERS for path in handler.paths}


def test_probes_ask_routes_that_there_are():
    """The edge's own, Prefect's server's, its worker's; at the ports at which these listen."""
    known = {3010: routes(), 4200: {"/api/health", "/api/ready"}, 8080: {"/health"}}
    asked = []
    for name, container in containers():
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(kind, {}).get("httpGet")
            asked += [(name, ports[probe["port"]], probe["path"])] if probe else []
    texts = [*(image.read_text() for image in IMAGES), (FOLDER / "compose.yaml").read_text()]
    checks = re.findall(r"urlopen\('http://127\.0\.0\.1:(\d+)([^']*)'", "\n".join(texts))
    asked += [("health check", int(port), path) for port, path in checks]
    assert len(asked) > 10
    assert [] == [one for one in asked if one[2] not in known[one[1]]]


def test_edge_is_restarted_by_life_and_served_by_readiness():
    """A database that is away must not restart edges."""
    [edge] = pods()["mp-edge"]["containers"]
    assert ("/api/health/live", "/api/health/ready") == tuple(
        edge[kind]["httpGet"]["path"] for kind in ("livenessProbe", "readinessProbe")
    )


def test_services_lead_to_ports_of_their_pods():
    """By name; the Ingress to the edge's service; policies let through ports at which somebody listens."""
    listening = {
        name: {port["name"]: port["containerPort"] for one in pod["containers"] for port in one.get("ports", ())}
        for name, pod in pods().items()
    }
    services = [one for one in documents() if one["kind"] == "Service"]
    for one in services:
        assert [] == [
            p for p in one["spec"]["ports"] if p["targetPort"] not in listening[one["spec"]["selector"]["app"]]
        ]
    for rule in named("Ingress", "mp-edge")["spec"]["rules"]:
        assert ["mp-edge"] == [path["backend"]["service"]["name"] for path in rule["http"]["paths"]]
    url = named("ConfigMap", "mp-settings")["data"]["PREFECT_API_URL"]
    assert "http://mp-prefect:4200/api" == url
    for one in (one for one in documents() if one["kind"] == "NetworkPolicy"):
        app = one["spec"]["podSelector"].get("matchLabels", {}).get("app")
        let_in = {port["port"] for rule in one["spec"].get("ingress", ()) for port in rule["ports"]}
        assert let_in <= set(listening[app].values()) if app else not let_in


# Kubernetes


def test_pods_have_no_rights_to_spare():
    """Nobody's root, a root file system that nobody writes, bounds, no account of the cluster but the worker's."""
    for name, pod in pods().items():
        assert (True, 1000, name == "mp-worker") == (
            pod["securityContext"]["runAsNonRoot"],
            pod["securityContext"]["runAsUser"],
            pod["automountServiceAccountToken"],
        ), name
    for name, container in containers():
        assert {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        } == container["securityContext"], name
        assert {"requests", "limits"} == set(container["resources"]), name
        assert ["/tmp"] == [mount["mountPath"] for mount in container["volumeMounts"]], name  # noqa: S108


def test_worker_may_make_jobs_and_no_more():
    """In its namespace: no secret, no pod of its own making, nothing of the cluster."""
    assert {"Role"} == {one["kind"] for one in documents() if "Role" in one["kind"]} - {"RoleBinding"}
    rights = {
        resource: set(rule["verbs"]) for rule in named("Role", "mp-worker")["rules"] for resource in rule["resources"]
    }
    look = {"get", "list", "watch"}
    assert look | {"create", "patch", "delete"} == rights.pop("jobs")
    assert {"pods": look, "pods/log": look, "pods/status": look, "events": look} == rights
    [subject] = named("RoleBinding", "mp-worker")["subjects"]
    assert ("mp-worker", "mp") == (subject["name"], subject["namespace"])


def test_kubernetes_and_the_job_template_mean_the_same():
    """Namespace, account, secret and settings of pools/kubernetes.json are those of the manifests."""
    fields = json.loads((FOLDER / "pools" / "kubernetes.json").read_text())["variables"]["properties"]
    default = {name: field.get("default") for name, field in fields.items()}
    kustomize = yaml.safe_load((FOLDER / "kubernetes" / "kustomization.yaml").read_text())
    assert "mp" == default["namespace"] == kustomize["namespace"] == named("Namespace", "mp")["metadata"]["name"]
    named("ServiceAccount", default["service_account_name"])
    named("ConfigMap", default["settings_name"])
    taken = {
        each["secretRef"]["name"] for _, one in containers() for each in one.get("envFrom", ()) if "secretRef" in each
    }
    assert {default["secret_name"], "mp-edge", "mp-prefect"} == taken
    [flows] = [one for name, one in containers() if name == "mp-flows"]
    assert f"s|{default['image']}|" in flows["args"][-1]


def test_kustomization_has_every_manifest():
    """And the images of this version, wherever they are named."""
    kustomize = yaml.safe_load((FOLDER / "kubernetes" / "kustomization.yaml").read_text())
    assert {path.name for path in MANIFESTS} == set(kustomize["resources"])
    assert dict.fromkeys(OURS, __version__) == {one["name"]: one["newTag"] for one in kustomize["images"]}
    [replaced] = kustomize["replacements"]
    worker = named(replaced["source"]["kind"], replaced["source"]["name"])
    [target] = replaced["targets"]
    job = named(target["select"]["kind"], target["select"]["name"])
    assert "worker" in [one["name"] for one in worker["spec"]["template"]["spec"]["containers"]]
    [flows] = job["spec"]["template"]["spec"]["containers"]
    assert ("flows", ["POOL_IMAGE"]) == (flows["name"], [each["name"] for each in flows["env"]])
    texts = "\n".join(path.read_text() for path in [*MANIFESTS, *IMAGES, FOLDER / "compose.yaml"])
    assert {__version__} == set(re.findall(r"\bmp-(?:edge|worker|trainer):(\d[\w.]*)", texts))


def test_edges_are_never_all_away():
    """Two at least, one of which stays when nodes are emptied; a new release waits for readiness."""
    assert 2 == named("HorizontalPodAutoscaler", "mp-edge")["spec"]["minReplicas"]
    assert 1 == named("PodDisruptionBudget", "mp-edge")["spec"]["minAvailable"]
    spec = named("Deployment", "mp-edge")["spec"]
    assert (0, False) == (spec["strategy"]["rollingUpdate"]["maxUnavailable"], "replicas" in spec)
    stop, grace = spec["template"]["spec"]["containers"][0]["lifecycle"], spec["template"]["spec"]
    assert stop["preStop"]["sleep"]["seconds"] + 5 < grace["terminationGracePeriodSeconds"]
