"""Vendors' credentials over HTTP: they go in, they are tested, they never come out."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from accounts import Accounts, standing_in
from sqlalchemy import text

from mp_kit.errors import CredentialError, IntegrityError
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import connections
from mp_kit.server.services.ids import new_id
from mp_kit.server.vault import Vault
from mp_kit.server.wiring import build, runpod_keys
from tests.support.desks import publish

PATH = "/api/vendors/connections"
CANARY = "canary0123456789abcdefCANARY"
KEYS = {"runpod": f"rpa_{CANARY}RP", "huggingface": f"hf_{CANARY}HF", "wandb": f"{CANARY}WB"}


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    """The services."""
    with standing_in() as found:
        yield found


@pytest.fixture(autouse=True)
def _well(accounts: Accounts) -> None:
    """They work, know the keys of this module, and have forgotten what was asked."""
    accounts.good, accounts.broken, accounts.body = set(KEYS.values()), None, None
    accounts.asked.clear()


@pytest.fixture(scope="module")
def edge_house(house: House, accounts: Accounts) -> Iterator[House]:
    """The house that asks the stand-ins."""
    urls = {"runpod_url": f"{accounts.url}/runpod", "huggingface_url": f"{accounts.url}/hf"}
    built = build(
        replace(
            house.settings,
            base_url=f"http://127.0.0.1:{free_port()}",
            wandb_url=f"{accounts.url}/wandb",
            **urls,
        )
    )
    yield built
    built.close()


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, at every level, without our filter."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(before)
    root.removeHandler(handler)


def put(edge: httpx.Client, who: SimpleNamespace, name: str, value: Any = None) -> httpx.Response:
    return edge.put(f"{PATH}/{name}", json={"value": value or KEYS[name]}, headers=who.headers)


def check(edge: httpx.Client, who: SimpleNamespace, name: str) -> dict[str, Any]:
    response = edge.post(f"{PATH}/{name}/test", headers=who.headers)
    assert 200 == response.status_code, response.text
    found: dict[str, Any] = response.json()["data"]
    return found


BAD_BODIES = {
    "another field": json.dumps({"key": KEYS["runpod"]}),
    "a list": json.dumps([KEYS["runpod"]]),
    "a text": json.dumps(KEYS["runpod"]),
    "nested": json.dumps({"value": {"value": KEYS["runpod"]}}),
    "listed": json.dumps({"value": [KEYS["runpod"]]}),
    "with a space": json.dumps({"value": f"{CANARY} {CANARY}"}),
    "with a NUL": json.dumps({"value": f"{CANARY}\x00"}),
    "with a letter that no key has": json.dumps({"value": f"{CANARY}ä"}),
    "too long": json.dumps({"value": CANARY * 100}),
    "another service's": json.dumps({"value": KEYS["huggingface"]}),
    "ours": json.dumps({"value": f"vk_{CANARY}"}),
    "no JSON": f'{{"value": {KEYS["runpod"]}}}',
    "JSON that is cut": f'{{"value": "{KEYS["runpod"]}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_body_is_refused_and_not_repeated(
    edge: httpx.Client, vendor: SimpleNamespace, logged: io.StringIO, body: str
):
    """Neither answer nor log says what was sent, and nothing is stored."""
    headers = vendor.headers | {"Content-Type": "application/json"}
    response = edge.put(f"{PATH}/runpod", content=body, headers=headers)
    assert response.status_code in {400, 422}
    assert CANARY not in response.text
    assert CANARY not in logged.getvalue()
    assert [] == edge.get(PATH, headers=vendor.headers).json()["data"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_a_name_that_is_no_connection(edge: httpx.Client, vendor: SimpleNamespace, method: str):
    """404 with the names that there are; what stood in its place may be a key and is not repeated."""
    path = f"{PATH}/{CANARY}" + ("/test" if method == "POST" else "")
    response = edge.request(method, path, json={"value": KEYS["runpod"]}, headers=vendor.headers)
    assert (404, "not_found") == (response.status_code, response.json()["code"])
    assert "runpod, huggingface, wandb" in response.json()["hint"]
    assert CANARY not in response.text


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_what_is_not_set(edge: httpx.Client, vendor: SimpleNamespace, method: str):
    """404 and how to set it."""
    path = f"{PATH}/wandb" + ("/test" if method == "POST" else "")
    response = edge.request(method, path, headers=vendor.headers)
    assert (404, True) == (response.status_code, "mp connections set wandb" in response.json()["hint"])


def test_only_a_vendor_may(edge: httpx.Client, deployment: SimpleNamespace):
    """A deployment's token sees no credentials; neither does nobody."""
    assert 403 == edge.get(PATH, headers=deployment.headers).status_code
    assert 401 == edge.get(PATH).status_code


@pytest.mark.parametrize("name", KEYS)
def test_a_credential_goes_in_and_does_not_come_out(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, logged: io.StringIO, name: str
):
    """Set, read, listed, tested, removed: the key is in no answer, no log and no column."""
    made = put(edge, vendor, name)
    assert {"name": name, "last4": KEYS[name][-4:], "status": "unchecked"} == made.json()["data"]
    tested = check(edge, vendor, name)
    assert ("ok", True) == (tested["status"], tested["checked_at"].endswith("Z"))
    read = edge.get(f"{PATH}/{name}", headers=vendor.headers)
    listed = edge.get(PATH, headers=vendor.headers)
    assert ("ok", 1, [read.json()["data"]]) == (
        read.json()["data"]["status"],
        listed.json()["count"],
        listed.json()["data"],
    )
    removed = edge.delete(f"{PATH}/{name}", headers=vendor.headers)
    with edge_house.db.begin() as tx:
        told = [
            *tx.execute(text("SELECT action, actor FROM audit_log WHERE subject = :s"), {"s": f"{vendor.id}/{name}"})
        ]
        stored = tx.execute(text("SELECT string_agg(a::text, ' ') FROM audit_log a")).scalar_one()
    assert {"connection.set", "connection.test", "connection.remove"} == {row.action for row in told}
    answers = [made, read, listed, removed]
    assert [200] * 4 == [answer.status_code for answer in answers]
    assert CANARY not in "".join([*(answer.text for answer in answers), json.dumps(tested), stored, logged.getvalue()])
    assert [] == edge.get(PATH, headers=vendor.headers).json()["data"]


def test_what_is_stored_is_sealed(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace):
    """The row has the last four characters and nothing more of it."""
    put(edge, vendor, "runpod")
    with edge_house.db.begin() as tx:
        row = tx.execute(
            text("SELECT c::text FROM vendor_connections c WHERE vendor_id = :v"), {"v": vendor.id}
        ).scalar_one()
    assert (False, True) == (CANARY in row, "mpc1." in row)


def test_setting_anew_forgets_the_check(edge: httpx.Client, vendor: SimpleNamespace):
    """What was said of the former key does not count for the new one."""
    put(edge, vendor, "runpod")
    check(edge, vendor, "runpod")
    again = put(edge, vendor, "runpod", "rpa_anotherkey0123456789").json()["data"]
    assert {"name": "runpod", "last4": "6789", "status": "unchecked"} == again
    assert "refused" == check(edge, vendor, "runpod")["status"]


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_the_service_refuses(edge: httpx.Client, vendor: SimpleNamespace, accounts: Accounts, name: str):
    """Refused, said as a status and a sentence, and not an error."""
    put(edge, vendor, name)
    accounts.good = set()
    tested = check(edge, vendor, name)
    assert ("refused", True) == (tested["status"], "refuses the key" in tested["detail"])


@pytest.mark.parametrize("status", [500, 503, 429, 404, 410, 302, 307])
def test_a_service_that_does_not_say(edge: httpx.Client, vendor: SimpleNamespace, accounts: Accounts, status: int):
    """Unreachable: nothing is known of the key. No redirect is followed, so that the key goes to nobody else."""
    put(edge, vendor, "huggingface")
    accounts.broken = status
    assert "unreachable" == check(edge, vendor, "huggingface")["status"]
    assert ["GET /hf/api/whoami-v2"] == [line for line, _ in accounts.asked]


@pytest.mark.parametrize("body", [b"no JSON", b"x" * 300_000])
def test_an_answer_that_is_none(edge: httpx.Client, vendor: SimpleNamespace, accounts: Accounts, body: bytes):
    """Unreachable too."""
    put(edge, vendor, "wandb")
    accounts.body = body
    assert "unreachable" == check(edge, vendor, "wandb")["status"]


@pytest.mark.parametrize("body", [b'"x"', b'{"data": null}', b'{"data": {"viewer": {"username": 7}}}'])
def test_an_answer_that_names_nobody(edge: httpx.Client, vendor: SimpleNamespace, accounts: Accounts, body: bytes):
    """W&B answers 200 for nobody too: that is no yes."""
    put(edge, vendor, "wandb")
    accounts.body = body
    assert "refused" == check(edge, vendor, "wandb")["status"]


def test_the_services_are_asked_as_they_want(edge: httpx.Client, vendor: SimpleNamespace, accounts: Accounts):
    """One request each, that says who asks: RunPod's front refuses others."""
    for name in KEYS:
        put(edge, vendor, name)
        check(edge, vendor, name)
    assert ["GET /runpod/pods", "GET /hf/api/whoami-v2", "POST /wandb/graphql"] == [line for line, _ in accounts.asked]
    assert {True} == {headers["user-agent"].startswith("mp-kit/") for _, headers in accounts.asked}


def test_vendors_never_meet(edge: httpx.Client, new_vendor: Callable[[], SimpleNamespace]):
    """What one has connected is absent for the other, to read, test, remove, and to overwrite."""
    ann, bob = new_vendor(), new_vendor()
    put(edge, ann, "runpod")
    asked = [("GET", f"{PATH}/runpod"), ("DELETE", f"{PATH}/runpod"), ("POST", f"{PATH}/runpod/test")]
    assert [404] * 3 == [edge.request(method, path, headers=bob.headers).status_code for method, path in asked]
    put(edge, bob, "runpod", "rpa_bobsownkey0123456789")
    assert [KEYS["runpod"][-4:], "6789"] == [
        edge.get(f"{PATH}/runpod", headers=who.headers).json()["data"]["last4"] for who in (ann, bob)
    ]


def test_runpods_key_stays_while_a_training_is_there(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace):
    """The edge sees its vendor's runs, asks RunPod, and says what to do; RunPod's stand-in shows no pod to anybody."""
    put(edge, vendor, "runpod")
    with edge_house.db.begin() as tx:
        publish(tx)
        run_id = new_id("run")
        tx.execute(text(RUN), {"run": run_id, "vendor": vendor.id})
    removed = edge.delete(f"{PATH}/runpod", headers=vendor.headers)
    assert (409, True) == (removed.status_code, run_id in removed.text)
    foreign = put(edge, vendor, "runpod", "rpa_another0123456789")
    assert (409, True) == (foreign.status_code, "mp train cancel" in foreign.json()["hint"])
    assert CANARY not in removed.text + foreign.text
    assert "ok" == check(edge, vendor, "runpod")["status"]
    with edge_house.db.begin() as tx:
        tx.execute(text("UPDATE training_runs SET provider_ref = 'pod1' WHERE id = :run"), {"run": run_id})
    assert 200 == put(edge, vendor, "runpod", "rpa_another0123456789").status_code


RUN = """INSERT INTO training_runs (id, vendor_id, round_id, task, provider, state, attempt, body_sha256)
         VALUES (:run, :vendor, 'rnd_desk', 'signal', 'runpod', 'launching', 1, '')"""


def test_ciphertext_moved_to_another_vendor_stays_shut(
    edge: httpx.Client, edge_house: House, new_vendor: Callable[[], SimpleNamespace], logged: io.StringIO
):
    """Who can write the table gets no key out of the marketplace by it."""
    ann, bob = new_vendor(), new_vendor()
    put(edge, ann, "runpod")
    put(edge, bob, "runpod", "rpa_bobsownkey0123456789")
    move = "UPDATE vendor_connections SET ciphertext = (SELECT ciphertext FROM vendor_connections WHERE vendor_id = :a)"
    with edge_house.db.begin() as tx:
        tx.execute(text(f"{move} WHERE vendor_id = :b"), {"a": ann.id, "b": bob.id})
    response = edge.post(f"{PATH}/runpod/test", headers=bob.headers)
    assert (502, "integrity", False) == (response.status_code, response.json()["code"], CANARY in response.text)
    assert CANARY not in logged.getvalue()


def test_a_lost_master_key_can_be_mended(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace):
    """Nothing opens, setting says why, and removing needs no key, so that setting works again."""
    with edge_house.db.begin() as tx:
        lost = Vault("a master key that is gone")
        connections.put(tx, lost, vendor.id, "runpod", _secret("runpod"), actor="test")
    response = put(edge, vendor, "runpod")
    assert (502, True) == (response.status_code, "MP_MASTER_KEY" in response.json()["hint"])
    assert 200 == edge.delete(f"{PATH}/runpod", headers=vendor.headers).status_code
    assert 200 == put(edge, vendor, "runpod").status_code
    assert "ok" == check(edge, vendor, "runpod")["status"]


def test_keys_for_the_provider(edge: httpx.Client, edge_house: House, new_vendor: Callable[[], SimpleNamespace]):
    """The composition root gives the provider its vendor's key, and a refusal that says what to do."""
    ann, bob = new_vendor(), new_vendor()
    put(edge, ann, "runpod")
    keys = runpod_keys(edge_house.db, edge_house.vault)
    assert KEYS["runpod"] == keys(ann.id)
    with pytest.raises(CredentialError, match="RunPod account, which is not connected") as caught:
        keys(bob.id)
    assert "mp connections set runpod" in str(caught.value)
    with pytest.raises(IntegrityError):
        runpod_keys(edge_house.db, Vault("another master key"))(ann.id)


def test_openapi_has_no_example_and_hides_the_value(edge: httpx.Client):
    """The document shows no credential, and a read has no place for one."""
    document = edge.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert {"value"} == set(schemas["ConnectionWrite"]["properties"])
    assert "value" not in schemas["Connection"]["properties"]
    assert "example" not in json.dumps(schemas["ConnectionWrite"])
    assert {"429", "502"} <= document["paths"][f"{PATH}/{{name}}/test"]["post"]["responses"].keys()


def _secret(name: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(KEYS[name])
