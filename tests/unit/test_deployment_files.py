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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import FOLDER, IMAGES, MANIFESTS, OURS, containers, documents, named, routes
from paperwork import ROOT, mp_calls, prefect_names, refusal, settings_names

COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
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


def test_worker_has_the_clients_that_speak_tls():
    """For backups of a managed Postgres: no other image has them, and none keeps the lists of packages."""
    runs = {path.stem: [rest for word, rest in instructions(path) if word == "RUN"] for path in IMAGES}
    with_apt = {name: [rest for rest in each if "apt-get" in rest] for name, each in runs.items()}
    [install] = with_apt.pop("worker")
    assert {"edge": [], "trainer": []} == with_apt
    assert " postgresql-client " in install
    assert install.endswith("rm -rf /var/lib/apt/lists/*")


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
    assert words[0] in {"prefect", "sed", "sleep"}, words
    return "" if all((ROOT / name).is_file() for name in files) else f"no such file: {files}"


def test_commands_exist():
    """Each command that an image, a service or a container of ours starts is one of ours, with real options."""
    cmds = [json.loads(rest) for image in IMAGES for word, rest in instructions(image) if word == "CMD"]
    services = [one["command"] for one in COMPOSE["services"].values() if is_ours(one) and "command" in one]
    args = [container["args"] for _, container in containers() if "args" in container]
    assert (2, 4, 7) == (len(cmds), len(services), len(args))
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
    blocks: dict[str, str] = {}
    for name, block in re.findall(r'cat >>? "\$folder/(\S+)\.env" << END\n(.*?)END\n', text, re.DOTALL):
        blocks[name] = blocks.get(name, "") + block
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
    given = MANAGED | KEY | {"MP_POSTGRES_TLS": "require"}
    assert 0 == draw(folder, **given).returncode
    again = draw(folder, **given)
    assert (1, True) == (again.returncode, "is there already" in again.stderr)
    return folder


KEY = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "given"}
R2 = {"CLOUDFLARE_R2_ACCESS_KEY": "a", "CLOUDFLARE_R2_SECRET_KEY": "b", "CLOUDFLARE_R2_ACCOUNT_ID": "c"}
MANAGED = {"MP_POSTGRES": "db.example.com:5432"}


def draw(folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin"} | given
    return subprocess.run(
        [str(FOLDER / "secrets.sh"), str(folder)], env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (MANAGED, "No keys of a bucket"),
        (KEY | {"AWS_SESSION_TOKEN": "for an hour"}, "AWS_SESSION_TOKEN is set"),
        (MANAGED | {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"}, "AWS_SECRET_ACCESS_KEY is missing"),
        (MANAGED | {"CLOUDFLARE_R2_ACCESS_KEY": "a", "CLOUDFLARE_R2_SECRET_KEY": "b"}, "CLOUDFLARE_R2_ACCOUNT_ID is"),
        (KEY | R2, "S3 and of R2"),
    ],
    ids=["none", "temporary", "half", "no account", "both"],
)
def test_keys_that_no_bucket_takes_are_refused(given: dict[str, str], told: str, tmp_path: Path):
    """Before anything is drawn, with what is missing; no value is shown."""
    done = draw(tmp_path / "secrets", **given)
    assert (1, "") == (done.returncode, done.stdout)
    assert told in done.stderr
    assert "AKIAEXAMPLE" not in done.stderr
    assert not (tmp_path / "secrets").exists()


def test_keys_of_r2_are_taken_instead(tmp_path: Path):
    """All three for edges and operator, none of S3 beside them; without any, Compose's store gets new ones."""
    assert 0 == draw(tmp_path / "r2", **MANAGED, **R2).returncode
    for name in ("edge", "operator"):
        found = read(tmp_path / "r2" / f"{name}.env")
        assert R2 == {key: value for key, value in found.items() if key in R2 | KEY}
    assert 0 == draw(tmp_path / "compose").returncode
    edge, store = read(tmp_path / "compose" / "edge.env"), read(tmp_path / "compose" / "store.env")
    assert (edge["AWS_ACCESS_KEY_ID"], edge["AWS_SECRET_ACCESS_KEY"]) == tuple(store.values())


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
