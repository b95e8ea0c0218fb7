"""A vendor's deployments on the console: made by a form, started and stopped, their tokens and their logs."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from desks import Visitor, finished, words_of
from hosts import MemoryHost
from sqlalchemy import text

from mp_kit.contracts import DeploymentRequest, ModelRegistration, Task
from mp_kit.errors import ProviderError
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.providers.hosting import Hosted
from mp_kit.server.providers.runpod_hosting import RunPodHost
from mp_kit.server.services import deployments, models
from mp_kit.server.services.hosting_keeper import Keeper, turn
from mp_kit.server.wiring import build

ROOT = "/marketplace/vendor"
DEPLOYMENTS, NEW = f"{ROOT}/deployments", f"{ROOT}/deployments/new"
TOKEN = re.compile(r"<code>(sit_[0-9a-z]{16}_[A-Za-z0-9_\-]{43})</code>")
HARM = "<script>alert(1)</script>"


class Watched(MemoryHost):
    """Servers in memory; counts the transactions that are open while a log is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.house: House | None = None
        self.open: list[int] = []

    def logs(self, hosted: Hosted, tail: int) -> Sequence[str]:
        """The lines, after a look at the database."""
        assert self.house is not None
        with self.house.db.begin() as tx:
            idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
            self.open.append(tx.execute(text(f"{idle} AND pid <> pg_backend_pid()")).scalar_one())
        return super().logs(hosted, tail)


@pytest.fixture(scope="module")
def edge_house(house: House) -> Iterator[House]:
    """A house that runs servers in memory, and takes orders for RunPod that nobody carries out."""
    built = build(replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}"))
    cloud = RunPodHost(lambda _: "rpa_none", image="mp-kit/trainer:1", prefix="mp", base_url="https://runpod.test")
    local = Watched()
    made = replace(built, hosts={("local", "process"): local, ("runpod", "endpoint"): cloud, ("runpod", "pod"): cloud})
    local.house = made
    yield made
    cloud.close()
    built.close()


@pytest.fixture
def host(edge_house: House) -> Iterator[Watched]:
    """The place for servers, which says one line again afterwards."""
    found = edge_house.hosts["local", "process"]
    assert isinstance(found, Watched)
    yield found
    found.mute, found.said, found.open = None, ["listening"], []


@pytest.fixture
def version(edge_house: House, vendor: SimpleNamespace) -> str:
    """A version with a model's files, as the form names it."""
    with edge_house.db.begin() as tx:
        run_id = finished(tx, vendor.id)
        wanted = ModelRegistration(name="trend", task=Task.SIGNAL, version="1", run_id=run_id)
        made = models.register(tx, vendor.id, wanted)
    return f"{made.model_id}/{made.version_id}"


def launch(house: House, deployment_id: str) -> None:
    """Has the keeper look once, at this deployment."""
    with house.db.begin() as tx:
        tx.execute(text("UPDATE hostings SET next_look_at = now() + interval '1 hour'"))
        tx.execute(text("UPDATE hostings SET next_look_at = now() WHERE deployment_id = :id"), {"id": deployment_id})
    turn(
        Keeper(house.db, {("local", "process"): house.hosts["local", "process"]}, house.tokens, house.settings.base_url)
    )


def deployed(visitor: Visitor, version: str, name: str = "here", provider: str = "local") -> str:
    """The path of a deployment that the marketplace runs."""
    answer = visitor.send(NEW, NEW, name=name, provider=provider, model=version)
    assert 303 == answer.status_code, words_of(answer)
    return answer.headers["location"]


def token_on(page: httpx.Response) -> str:
    """The token that a page shows this once."""
    found = TOKEN.search(page.text)
    assert found is not None, words_of(page)
    return found[1]


def opens(edge: httpx.Client, token: str) -> bool:
    """Whether a token is taken; a batch without a signal leaves nothing."""
    headers = {"Authorization": f"Bearer {token}", "X-Marketplace-Dry-Run": "true"}
    return edge.post("/api/signals/store", json=[], headers=headers).status_code != 401


def fault(page: httpx.Response, field: str) -> str:
    """What is said at a field, which must be marked as wrong."""
    assert re.search(rf'id="f-{field}"[^>]*aria-invalid="true"', page.text), words_of(page)
    found = re.search(rf'id="e-{field}">(.*?)</p>', page.text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def test_server_of_ones_own_gets_its_token_once(visitor: Visitor, edge: httpx.Client, version: str):
    """On the page that made it and on no later one; it opens, and the deployment serves the version."""
    page = visitor.send(NEW, NEW, name="live", provider="byoc", model=version)
    assert (200, "no-store") == (page.status_code, page.headers["cache-control"])
    token = token_on(page)
    assert opens(edge, token)
    found = re.search(rf'action="({DEPLOYMENTS}/dep_\w+)/tokens"', page.text)
    assert found is not None
    later = visitor.get(found[1])
    assert (False, True) == (token in later.text, f"sit_{token.split('_')[1]}…" in later.text)
    assert f"{ROOT}/models/{version.partition('/')[0]}?version={version.partition('/')[2]}" in later.text
    assert "Start it" not in later.text


def test_version_leads_to_the_form(visitor: Visitor, version: str):
    """`Deploy it` fills in the version and a name."""
    model, _, number = version.partition("/")
    link = re.search(r'href="([^"]+)">Deploy it<', visitor.get(f"{ROOT}/models/{model}").text)
    assert link is not None
    form = visitor.get(html.unescape(link[1])).text
    assert f'<option value="{model}/{number}" selected>trend 1 (shadow)' in form
    assert re.search(r'id="f-name"[^>]*value="trend"', form)


@pytest.mark.parametrize(
    ("field", "changes", "says", "status"),
    [
        ("name", {"name": ""}, "at least 1 character", 422),
        ("name", {"name": "taken"}, "You have a deployment called 'taken' already", 409),
        ("provider", {"provider": "moon"}, "runs no servers on moon", 422),
        ("provider", {"provider": ""}, "runs no servers on nothing", 422),
        ("model", {"provider": "local", "model": ""}, "Choose the version", 422),
        ("model", {"model": "mod_nope/ver_nope"}, "There is no model", 404),
        ("model", {"model": "MODEL/ver_nope"}, "There is no version", 404),
        ("model", {"provider": "local", "model": "ELSEWHERE"}, "must come from a training run here", 422),
        ("model", {"provider": "runpod", "model": ""}, "There is no model to run", 422),
        ("gpu", {"provider": "runpod", "gpu": "H1000"}, "no GPU called 'H1000'", 422),
        ("gpu", {"provider": "runpod", "gpu": "0xA100"}, "no GPU at all", 422),
        ("image", {"provider": "runpod", "image": "not an image"}, "image", 422),
        ("cpu", {"provider": "runpod", "cpu": "many"}, "valid integer", 422),
        ("workers_min", {"provider": "runpod", "workers_min": "5"}, "above workers_max 1", 422),
        ("workers_max", {"provider": "runpod", "workers_max": "11"}, "less than or equal to 10", 422),
        ("timeout_seconds", {"provider": "runpod", "timeout_seconds": "331"}, "less than or equal to 330", 422),
        ("idle_seconds", {"provider": "runpod", "idle_seconds": "0"}, "greater than or equal to 1", 422),
    ],
)
def test_form_says_what_is_wrong_at_its_field(
    visitor: Visitor, vendor: SimpleNamespace, edge_house: House, version: str,
    field: str, changes: dict[str, str], says: str, status: int,
):  # fmt: skip
    """Each at its own field; what was typed stays, and nothing is deployed."""
    with edge_house.db.begin() as tx:
        wanted = DeploymentRequest(name="taken", provider="byoc")
        deployments.create(tx, edge_house.tokens, vendor.id, wanted, actor="test")
        bare = models.register(tx, vendor.id, ModelRegistration(name="bare", task=Task.SIGNAL, version="1"))
    form = {"name": HARM, "provider": "byoc", "model": version, "idle_seconds": "77"} | changes
    form["model"] = (
        form["model"]
        .replace("MODEL", version.partition("/")[0])
        .replace("ELSEWHERE", f"{bare.model_id}/{bare.version_id}")
    )
    page = visitor.send(NEW, NEW, **form)
    assert status == page.status_code, words_of(page)
    assert says in fault(page, field)
    for name in ("name", "idle_seconds"):
        assert re.search(rf'id="f-{name}"[^>]*value="{re.escape(html.escape(form[name], quote=False))}"', page.text)
    assert f'value="{form["model"]}" selected' in page.text
    assert "<script>alert" not in page.text
    assert 1 == visitor.get(DEPLOYMENTS).text.count('<th scope="row"')


def test_hosting_that_is_not_allowed_is_not_offered(visitor: Visitor, edge_house: House, version: str,
                                                    monkeypatch: pytest.MonkeyPatch):  # fmt: skip
    """The form has no such choice, and whoever sends it all the same is refused at the field."""
    for place in [*edge_house.hosts]:
        monkeypatch.delitem(edge_house.hosts, place)  # type: ignore[arg-type] # a dict, here
    form = visitor.get(NEW).text
    assert (False, False, True) == tuple(f'<option value="{name}"' in form for name in ("local", "runpod", "byoc"))
    assert "On RunPod" not in form
    for name in ("local", "runpod"):
        page = visitor.send(NEW, NEW, name="x", provider=name, model=version)
        assert (422, True) == (page.status_code, f"runs no servers on {name}" in fault(page, "provider"))
    assert "No deployment yet" in visitor.get(DEPLOYMENTS).text


def test_hosted_server_from_order_to_removal(visitor: Visitor, edge_house: House, host: Watched, version: str,
                                             vendor: SimpleNamespace):  # fmt: skip
    """Ordered, launched, stopped, started, removed; each in words, and each in the audit log."""
    path = deployed(visitor, version)
    deployment_id = path.rpartition("/")[2]
    page = visitor.get(path)
    assert "It is ordered: the keeper launches it." in page.text
    assert ("It is to be launched.", "Stop it", "No living token") == tuple(
        part for part in ("It is to be launched.", "Stop it", "No living token") if part in page.text
    )
    launch(edge_house, deployment_id)
    launch(edge_house, deployment_id)
    page = visitor.get(path)
    assert ("It is there." in page.text, "1 running" in page.text) == (True, True)
    assert "own, which the marketplace keeps" in page.text
    assert not [one for one in host.orders[-1:] if one.env["MARKETPLACE_TOKEN"] in page.text]
    assert "Workers at most" not in page.text
    assert 303 == visitor.send(path, f"{path}/server/stop").status_code
    page = visitor.get(path)
    assert ("It is being stopped." in page.text, "Start it" in page.text, "Stop it" in page.text) == (True, True, False)
    assert 303 == visitor.send(path, f"{path}/server/start").status_code
    gone = visitor.send(path, f"{path}/server/remove")
    assert (303, DEPLOYMENTS) == (gone.status_code, gone.headers["location"])
    page = visitor.send(NEW, f"{path}/server/start")
    assert (409, True) == (page.status_code, "is removed." in page.text)
    assert not re.findall(r'action="[^"]*/(?:server|tokens)[^"]*"', page.text)
    with edge_house.db.begin() as tx:
        noted = tx.execute(
            text("SELECT detail ->> 'wanted' FROM audit_log WHERE action = 'deployment.change' AND subject = :id"
                 " AND actor = :actor ORDER BY at"),
            {"id": deployment_id, "actor": f"vendor:{vendor.id}"},
        )  # fmt: skip
        assert ["stopped", "running", "removed"] == list(noted.scalars())


def test_failed_server_says_why_and_can_be_started(visitor: Visitor, edge_house: House, version: str):
    """Its failure as an alert; starting it makes it wait for a launch again."""
    path = deployed(visitor, version)
    with edge_house.db.begin() as tx:
        tx.execute(text("UPDATE hostings SET state = 'failed', failure = :why"), {"why": f"No such model {HARM}"})
    page = visitor.get(path)
    assert 'role="alert"><p>No such model &lt;script' in page.text
    assert "<script>alert" not in page.text
    visitor.send(path, f"{path}/server/start")
    assert "It is to be launched." in visitor.get(path).text


def test_endpoint_is_scaled(visitor: Visitor, version: str):
    """Within its bounds; what is outside of them is said at its field, and what was typed stays."""
    path = deployed(visitor, version, provider="runpod")
    page = visitor.get(path)
    assert "billed by RunPod to your account" in page.text
    assert 303 == visitor.send(path, f"{path}/server/scale", workers_min="1", workers_max="3").status_code
    assert "of 1 to 3" in words_of(visitor.get(path))
    for field, least, most, says in (
        ("workers_min", "4", "3", "above workers_max 3"),
        ("workers_max", "0", "0", "greater than or equal to 1"),
        ("workers_min", "few", "3", "valid integer"),
        ("workers_max", "", "", "Nothing to change"),
    ):
        page = visitor.send(path, f"{path}/server/scale", workers_min=least, workers_max=most)
        assert (422, True) == (page.status_code, says in fault(page, field)), words_of(page)
        assert re.search(rf'id="f-workers_max"[^>]*value="{most}"', page.text)
    assert "of 1 to 3" in words_of(visitor.get(path))


def test_log_is_asked_for_without_an_open_transaction(visitor: Visitor, edge_house: House, host: Watched, version: str):
    """By its own link; secrets in it are hidden, markup is text, and it is bounded."""
    path = deployed(visitor, version)
    assert "It says nothing" in visitor.get(path, log="on").text
    launch(edge_house, path.rpartition("/")[2])
    host.said = [f"line {n}" for n in range(500)] + [HARM, f"token sit_{'a' * 16}_{'b' * 43}", "c" * 3_000]
    assert "line 499" not in visitor.get(path).text
    page = visitor.get(path, log="on")
    assert (200, [0]) == (page.status_code, host.open)
    assert (True, False) == ("line 499" in page.text, "line 299\n" in page.text)
    assert ("&lt;script&gt;alert" in page.text, "<script>alert" in page.text) == (True, False)
    assert ("token sit_***" in page.text, "b" * 43 in page.text, "c" * 2_001 in page.text) == (True, False, False)


def test_log_of_a_provider_that_is_down_is_a_notice(visitor: Visitor, edge_house: House, host: Watched, version: str):
    """The page is whole, and says that the log cannot be had."""
    path = deployed(visitor, version)
    launch(edge_house, path.rpartition("/")[2])
    host.mute = ProviderError("RunPod answers nothing.")
    page = visitor.get(path, log="on")
    assert 200 == page.status_code
    assert "Its log cannot be had at the moment. RunPod answers nothing." in page.text
    assert page.text.rstrip().endswith("</html>")


def test_tokens_are_issued_rotated_and_revoked(visitor: Visitor, edge: httpx.Client, deployment: SimpleNamespace):
    """Issued beside the first; rotated with an overlap, the earlier ones live on; revoked, none does."""
    path = f"{DEPLOYMENTS}/{deployment.id}"
    further = token_on(visitor.send(path, f"{path}/tokens"))
    fresh = token_on(visitor.send(path, f"{path}/tokens/rotate", overlap="600"))
    assert [True] * 3 == [opens(edge, one) for one in (deployment.token, further, fresh)]
    page = visitor.get(path)
    assert (3, 2) == (len(re.findall(r">sit_\w{16}…", page.text)), page.text.count("lives on after a rotation"))
    assert not [one for one in (deployment.token, further, fresh) if one in page.text]
    last = token_on(visitor.send(path, f"{path}/tokens/rotate", overlap="0"))
    assert 1 == len(re.findall(r">sit_\w{16}…", visitor.get(path).text))
    ended = visitor.send(path, f"{path}/tokens/revoke")
    assert (303, path) == (ended.status_code, ended.headers["location"])
    page = visitor.get(path)
    assert ("1 token ended." in page.text, "No living token" in page.text) == (True, True)
    assert "Rotate" not in page.text
    until_refused(edge, last)


def until_refused(edge: httpx.Client, token: str) -> None:
    """Waits for the revocation to come to the edge by its own way."""
    assert any(not opens(edge, token) for _ in range(100))


@pytest.mark.parametrize("overlap", ["-1", "86401", "soon", "1.5"])
def test_overlap_that_is_none_is_refused(visitor: Visitor, edge: httpx.Client, deployment: SimpleNamespace,
                                         overlap: str):  # fmt: skip
    """At its field, with what was typed; no token is made and none ends."""
    path = f"{DEPLOYMENTS}/{deployment.id}"
    page = visitor.send(path, f"{path}/tokens/rotate", overlap=overlap)
    assert (422, None) == (page.status_code, TOKEN.search(page.text))
    assert "Input should be" in fault(page, "overlap")
    assert f'value="{overlap}"' in page.text
    assert opens(edge, deployment.token)
    assert 1 == len(re.findall(r">sit_\w{16}…", page.text))


def test_hosted_servers_keep_their_own_token(visitor: Visitor, edge: httpx.Client, edge_house: House, host: Watched,
                                             version: str):  # fmt: skip
    """Revoking ends the vendor's, and the server goes on; its own is on no page."""
    path = deployed(visitor, version)
    launch(edge_house, path.rpartition("/")[2])
    own = host.orders[-1].env["MARKETPLACE_TOKEN"]
    further = visitor.send(path, f"{path}/tokens")
    visitor.send(path, f"{path}/tokens/revoke")
    pages = [further, visitor.get(path), visitor.get(path, log="on"), visitor.get(DEPLOYMENTS)]
    assert not [page for page in pages if own in page.text]
    until_refused(edge, token_on(further))
    assert opens(edge, own)


def test_deployments_of_another_vendor_are_404(visitor: Visitor, other: Visitor, version: str):
    """Whatever is asked of them; and so is a verb that there is none of."""
    path = deployed(visitor, version)
    assert 404 == other.get(path).status_code == other.get(path, log="on").status_code
    for verb in ("tokens", "tokens/rotate", "tokens/revoke", "server/start", "server/stop", "server/remove"):
        assert 404 == other.send(NEW, f"{path}/{verb}").status_code, verb
    assert 404 == other.send(NEW, f"{path}/server/scale", workers_max="3").status_code
    page = other.send(NEW, NEW, name="mine", provider="byoc", model=version)
    assert (404, True) == (page.status_code, "There is no model" in fault(page, "model"))
    assert 404 == visitor.send(NEW, f"{path}/server/explode").status_code
    assert "It is to be launched." in visitor.get(path).text


@pytest.mark.parametrize(
    ("sent", "field", "said"),
    [
        ({"kind": "pod"}, "max_price_per_hour", "say what an hour of it may cost"),
        ({"kind": "endpoint", "max_price_per_hour": "0.5"}, "max_price_per_hour", "leave it empty"),
        ({"kind": "pod", "max_price_per_hour": "-1"}, "max_price_per_hour", "greater than 0"),
    ],
    ids=["no price", "price of an endpoint", "negative"],
)
def test_pod_is_ordered_with_a_price(visitor: Visitor, version: str, sent: dict[str, str], field: str, said: str):
    """What does not fit stands at its field, and what was typed stays."""
    answer = visitor.send(NEW, NEW, name="pod", provider="runpod", model=version, **sent)
    assert 422 == answer.status_code
    assert said in fault(answer, field)
    assert 'value="pod"' in answer.text
