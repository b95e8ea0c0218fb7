"""`deployments/kubernetes/`: probes, ports, rights and names lead to what is there. Linters: test_deployment_files."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import yaml
from manifests import FOLDER, IMAGES, MANIFESTS, OURS, containers, documents, named, pods, routes
from paperwork import ROOT

from mp_kit.version import __version__


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


def test_prefects_pages_are_written_where_they_may_be():
    """Where its server may not write them, it serves none, and all probes go on."""
    [server] = pods()["mp-prefect"]["containers"]
    assert ("mp-worker", "/tmp") == (server["image"].split(":")[0], server["volumeMounts"][0]["mountPath"])  # noqa: S108
    assert " PREFECT_UI_STATIC_DIRECTORY=/tmp/" in (FOLDER / "worker.Dockerfile").read_text(encoding="utf-8")


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


def test_pool_gets_the_image_of_the_release(tmp_path: Path):
    """Whatever version the template in the image has, jobs run what kustomization.yaml says; the rest stays."""
    [flows] = [one for name, one in containers() if name == "mp-flows"]
    [line] = [each for each in flows["args"][-1].splitlines() if each.startswith("sed ")]
    template = (FOLDER / "pools" / "kubernetes.json").read_text(encoding="utf-8")
    source, target = tmp_path / "template.json", tmp_path / "pool.json"
    wanted = "registry.example.com/mp-worker:9.9.9"
    for version in (__version__, "1.10.0-rc.1"):
        source.write_text(template.replace(f"mp-worker:{__version__}", f"mp-worker:{version}"))
        command = line.replace("deployments/pools/kubernetes.json", str(source)).replace("/tmp/pool.json", str(target))  # noqa: S108
        subprocess.run(["sh", "-ec", command], env={"PATH": "/usr/bin:/bin", "POOL_IMAGE": wanted}, check=True)
        found, expected = json.loads(target.read_text()), json.loads(template)
        expected["variables"]["properties"]["image"]["default"] = wanted
        assert expected == found


def test_operators_shell_has_what_flow_runs_have():
    """As the nightly backup: image, settings, secrets of the migrations' job; nothing runs in it, nobody comes in."""
    [migrate] = pods()["mp-migrate"]["containers"]
    for name in ("mp-operator", "mp-backup"):
        [one] = pods()[name]["containers"]
        assert (one["image"], one["envFrom"]) == (migrate["image"], migrate["envFrom"])
        assert pods()[name]["serviceAccountName"] == "mp-flow"
        assert pods()[name]["volumes"] == [{"name": "scratch", "emptyDir": {"sizeLimit": "20Gi"}}]
    policies = [one["spec"] for one in documents() if one["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress"]} in policies
    apps = [one["podSelector"].get("matchLabels", {}).get("app") for one in policies if "ingress" in one]
    assert {"mp-edge", "mp-prefect"} == set(apps)


def test_connections_are_counted_by_the_code():
    """Pages and edge.yaml: an edge's pool and three besides; what autoscaler and flows' limits add up to."""
    from mp_kit.server.settings import Settings

    threads = Settings.__dataclass_fields__["edge_threads"].default
    wanted = f"\N{MULTIPLICATION SIGN} {threads + 3}"
    for place in ("deployments/kubernetes/edge.yaml", "docs/deploy.md", "docs/scale.md"):
        assert wanted in (ROOT / place).read_text(encoding="utf-8"), place
    flows = yaml.safe_load((FOLDER / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    at_once = sum(one["concurrency_limit"]["limit"] for one in flows if "concurrency_limit" in one)
    edges = named("HorizontalPodAutoscaler", "mp-edge")["spec"]["maxReplicas"]
    most = edges * (threads + 3) + at_once * (threads + 1) + 15
    assert f"{most}\nwith eight edges and the ten flow" in (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert (8, 10) == (edges, at_once)


def test_scrape_configuration_finds_edges_by_the_alerts_name():
    """The page's: the job that alerts ask for, the label and the port of the edges' pods."""
    page, runbook = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("deploy.md", "runbook.md"))
    [block] = re.findall(r"```yaml\n(scrape_configs:.*?)```", page, re.DOTALL)
    [job] = yaml.safe_load(block)["scrape_configs"]
    assert {job["job_name"]} == set(re.findall(r'job="([^"]+)"', runbook))
    wanted = {rule["source_labels"][0].rpartition("pod_")[2]: rule["regex"] for rule in job["relabel_configs"]}
    edge = named("Deployment", wanted["label_app"])["spec"]["template"]
    assert wanted["label_app"] == edge["metadata"]["labels"]["app"]
    ports = {port["name"]: port["containerPort"] for port in edge["spec"]["containers"][0]["ports"]}
    assert edge["metadata"]["annotations"]["prometheus.io/port"] == str(ports[wanted["container_port_name"]])


def test_store_key_reaches_two_buckets_and_no_more():
    """That of settings.yaml and that of backups; what it may do there is listed, and destroys no version."""
    buckets = {"example-backups", named("ConfigMap", "mp-settings")["data"]["MP_STORE_URL"].split("/")[2]}
    statements = json.loads((FOLDER / "s3-policy.json").read_text(encoding="utf-8"))["Statement"]
    reached = {each.removeprefix("arn:aws:s3:::") for one in statements for each in one["Resource"]}
    assert buckets | {f"{name}/*" for name in buckets} == reached
    actions = [action for one in statements for action in one["Action"]]
    assert [] == [action for action in actions if "*" in action or "Version" in action or "Policy" in action]
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    made = re.findall(r"for bucket in ([^;]*);", page)
    assert [buckets] == [set(names.split()) for names in made]
    [nightly] = pods()["mp-backup"]["containers"]
    assert buckets > {nightly["args"][-1].split("/")[2]}


def test_page_says_of_each_manifest_what_to_change():
    """A row for each, and for nothing else."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z]+\.yaml)` \|", page, re.MULTILINE)
    assert sorted([path.name for path in MANIFESTS] + ["kustomization.yaml"]) == sorted(rows)


def test_pull_secret_reaches_every_account():
    """The lines of kustomization.yaml become a patch without their #, with the secret that the page makes."""
    text = (FOLDER / "kubernetes" / "kustomization.yaml").read_text(encoding="utf-8")
    _, _, commented = text.partition("# patches:")
    [patch] = yaml.safe_load(re.sub(r"^# ", "", f"# patches:{commented}", flags=re.MULTILINE))["patches"]
    assert {"kind": "ServiceAccount"} == patch["target"]
    [change] = yaml.safe_load(patch["patch"])
    assert ("add", "/imagePullSecrets") == (change["op"], change["path"])
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert re.findall(r"docker-registry (\S+)", page) == [each["name"] for each in change["value"]]
    accounts = {one["metadata"]["name"] for one in documents() if one["kind"] == "ServiceAccount"}
    assert {pod["serviceAccountName"] for pod in pods().values()} == accounts


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
