"""The vendor's pages that handle secrets: connections, API keys, tokens, webhooks. What is shown once is shown once."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from accounts import Accounts, standing_in
from desks import Visitor, words_of
from sqlalchemy import text

from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.wiring import build

ROOT = "/marketplace/vendor"
CONNECTIONS, KEYS, HOOKS, DEPLOYMENTS = (
    f"{ROOT}/{name}" for name in ("connections", "keys", "webhooks", "deployments")
)
CANARY = "canary0123456789abcdefCANARY"
HARM = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    """Stand-ins of the services elsewhere, which know one key."""
    with standing_in() as found:
        found.good.add(f"hf_{CANARY}HF")
        yield found


@pytest.fixture(scope="module")
def edge_house(house: House, accounts: Accounts) -> Iterator[House]:
    """A house that asks the stand-ins, and sends webhooks to this machine."""
    settings = replace(
        house.settings,
        base_url=f"http://127.0.0.1:{free_port()}",
        huggingface_url=f"{accounts.url}/hf",
        webhook_allow_private=True,
    )
    built = build(settings)
    yield built
    built.close()


def test_connection_is_set_tested_removed_and_never_shown(visitor: Visitor):
    """Its last four characters, what the service said of it, and at no time the key."""
    path = f"{CONNECTIONS}/huggingface"
    answers = [visitor.send(CONNECTIONS, path, value=f"hf_{CANARY}HF"), visitor.get(CONNECTIONS)]
    assert (303, True) == (answers[0].status_code, "<code>RYHF</code>" in answers[1].text)
    assert ">unchecked<" in answers[1].text
    answers += [visitor.send(CONNECTIONS, f"{path}/test"), visitor.get(CONNECTIONS)]
    assert (303, True) == (answers[2].status_code, ">ok<" in answers[3].text)
    answers += [visitor.send(CONNECTIONS, f"{path}/remove"), visitor.get(CONNECTIONS)]
    assert "The key of Hugging Face is forgotten." in answers[5].text
    assert 3 == answers[5].text.count("not connected")
    assert not [answer for answer in answers if CANARY[:12] in answer.text + str(answer.headers)]


def test_connection_that_is_refused_says_so(visitor: Visitor):
    """The service's answer as an alert, and the state beside the name."""
    visitor.send(CONNECTIONS, f"{CONNECTIONS}/huggingface", value=f"hf_{CANARY}NO")
    page = visitor.send(CONNECTIONS, f"{CONNECTIONS}/huggingface/test")
    assert (200, True, True) == (page.status_code, 'role="alert"' in page.text, ">refused<" in page.text)


@pytest.mark.parametrize("value", ["", "short", f"rpa_{CANARY}", "with a space in it, and long", f"vk_{CANARY}"])
def test_wrong_keys_are_refused_and_not_repeated(visitor: Visitor, value: str):
    """422, the sentence at the field, and an empty field."""
    page = visitor.send(CONNECTIONS, f"{CONNECTIONS}/huggingface", value=value)
    assert (422, True) == (page.status_code, 'id="e-huggingface"' in page.text)
    assert not value or value not in page.text


def test_unknown_connections_are_404(visitor: Visitor):
    """Also where the key was put in the name's place."""
    for name in ("nothing", f"hf_{CANARY}"):
        page = visitor.send(CONNECTIONS, f"{CONNECTIONS}/{name}", value=CANARY)
        assert (404, False) == (page.status_code, CANARY in page.text)
    assert 404 == visitor.send(CONNECTIONS, f"{CONNECTIONS}/wandb/test").status_code
    assert 404 == visitor.send(CONNECTIONS, f"{CONNECTIONS}/wandb/remove").status_code


def test_connections_of_another_vendor_are_not_there(visitor: Visitor, other: Visitor):
    """Not shown, not tested, not removed."""
    visitor.send(CONNECTIONS, f"{CONNECTIONS}/huggingface", value=f"hf_{CANARY}HF")
    assert "RYHF" not in other.get(CONNECTIONS).text
    assert 404 == other.send(CONNECTIONS, f"{CONNECTIONS}/huggingface/remove").status_code
    assert "RYHF" in visitor.get(CONNECTIONS).text


def key_on(page: httpx.Response) -> str:
    """The key that a page shows this once."""
    found = re.search(r"<code>(vk_[^<]{40,})</code>", page.text)
    assert found is not None, words_of(page)
    return found[1]


def test_key_is_shown_once_and_works(visitor: Visitor, edge: httpx.Client):
    """On the page that made it and on no later one; with its name, escaped."""
    page = visitor.send(KEYS, KEYS, name=HARM, days="7")
    made = key_on(page)
    assert 200 == edge.get("/api/vendors/me", headers={"Authorization": f"Bearer {made}"}).status_code
    again = visitor.get(KEYS)
    assert made not in again.text
    assert made.split("_")[1] in again.text
    assert "<script>alert" not in page.text + again.text
    assert "no-store" == page.headers["cache-control"]


@pytest.mark.parametrize(("field", "typed"), [("days", "0"), ("days", "many"), ("days", "366"), ("name", "x" * 61)])
def test_key_form_keeps_what_was_typed(visitor: Visitor, field: str, typed: str):
    """422, the sentence at the field, and no key."""
    form = {"name": "laptop", "days": "30"} | {field: typed}
    page = visitor.send(KEYS, KEYS, **form)
    assert (422, True) == (page.status_code, f'id="e-{field}"' in page.text)
    assert all(f'value="{said}"' in page.text for said in form.values())
    assert 1 == visitor.get(KEYS).text.count(">living<")


def test_key_is_rotated_and_revoked(visitor: Visitor, vendor: SimpleNamespace, edge: httpx.Client):
    """Rotated, both live; revoked, it and every session end; the last one stays."""
    made = key_on(visitor.send(KEYS, KEYS, name="laptop", days="7"))
    key_id = made.split("_")[1]
    rotated = key_on(visitor.send(KEYS, f"{KEYS}/{key_id}/rotate"))
    assert ">ending<" in visitor.get(KEYS).text
    assert 409 == visitor.send(KEYS, f"{KEYS}/{key_id}/rotate").status_code
    answer = visitor.send(KEYS, f"{KEYS}/{rotated.split('_')[1]}/revoke")
    assert (303, True) == (answer.status_code, answer.headers["location"].startswith("/marketplace/login"))
    assert 401 == edge.get("/api/vendors/me", headers={"Authorization": f"Bearer {rotated}"}).status_code
    assert 303 == visitor.get(KEYS).status_code
    with Visitor(str(edge.base_url), vendor.key) as again:
        again.send(KEYS, f"{KEYS}/{key_id}/revoke")
    with Visitor(str(edge.base_url), vendor.key) as again:
        last = again.send(KEYS, f"{KEYS}/{vendor.key.split('_')[1]}/revoke")
        assert (409, True) == (last.status_code, "your last living key" in last.text)


def test_keys_of_another_vendor_are_404(visitor: Visitor, other: Visitor, vendor: SimpleNamespace):
    """Neither rotated nor revoked."""
    key_id = vendor.key.split("_")[1]
    for verb in ("rotate", "revoke"):
        assert 404 == other.send(KEYS, f"{KEYS}/{key_id}/{verb}").status_code
    assert key_id not in other.get(KEYS).text
    assert key_id in visitor.get(KEYS).text


def test_deployments_tokens_are_on_the_page_that_made_them_alone(
    visitor: Visitor, edge: httpx.Client, edge_house: House
):
    """By whichever form they were made: on no other page, in no header, and not in the audit log."""
    made = visitor.send(f"{DEPLOYMENTS}/new", f"{DEPLOYMENTS}/new", name="live", provider="byoc", model="")
    found = re.search(rf'action="({DEPLOYMENTS}/dep_\w+)/tokens"', made.text)
    assert found is not None, words_of(made)
    path = found[1]
    answers = [made, visitor.send(path, f"{path}/tokens"), visitor.send(path, f"{path}/tokens/rotate", overlap="60")]
    tokens = [one for answer in answers for one in re.findall(r"<code>(sit_[^<]{60,})</code>", answer.text)]
    assert 3 == len({*tokens})
    later = [visitor.send(path, f"{path}/tokens/rotate", overlap="x"), visitor.send(path, f"{path}/tokens/revoke")]
    later += [visitor.get(where) for where in (path, DEPLOYMENTS, ROOT, f"{path}?log=on")]
    with edge_house.db.begin() as tx:
        noted = str(tx.execute(text("SELECT * FROM audit_log")).all())
    for token in tokens:
        secret = token.split("_", 2)[2]
        assert not [answer for answer in later if secret in answer.text + str(answer.headers)]
        assert secret not in noted
    assert "no-store" == made.headers["cache-control"]
    assert 401 == edge.get("/api/signals", headers={"Authorization": f"Bearer {tokens[-1]}"}).status_code


def make_hook(visitor: Visitor, **more: str) -> tuple[str, httpx.Response]:
    """A webhook's path, and the page that made it."""
    form = {"url": "http://127.0.0.1:9999/hook", "run.finished": "on", "description": "mine"} | more
    page = visitor.send(HOOKS, HOOKS, **form)
    found = re.search(rf'href="({HOOKS}/whe_[^"]+)"', page.text)
    assert found is not None, words_of(page)
    return found[1], page


def test_webhook_from_its_making_to_its_end(visitor: Visitor):
    """Its secret once; a test among its messages; a new secret; gone."""
    path, made = make_hook(visitor)
    secret = re.search(r"<code>(whsec_[^<]+)</code>", made.text)
    assert secret is not None
    assert secret[1] not in visitor.get(HOOKS).text + visitor.get(path).text
    assert 303 == visitor.send(path, f"{path}/test").status_code
    page = visitor.get(path)
    assert ("A test is on its way" in page.text, ">pending<" in page.text) == (True, True)
    rotated = re.search(r"<code>(whsec_[^<]+)</code>", visitor.send(path, f"{path}/rotate").text)
    assert rotated is not None
    assert rotated[1] != secret[1]
    assert rotated[1] not in visitor.get(path).text
    assert (303, HOOKS) == ((gone := visitor.send(path, f"{path}/remove")).status_code, gone.headers["location"])
    assert 404 == visitor.get(path).status_code
    assert "No webhook yet" in visitor.get(HOOKS).text


@pytest.mark.parametrize(
    ("field", "form"),
    [
        ("events", {"run.finished": "", "url": "http://127.0.0.1:9999/x"}),
        ("url", {"url": ""}),
        ("url", {"url": "ftp://x.example/y"}),
        ("url", {"url": "nonsense and more"}),
        ("description", {"description": "y" * 201}),
    ],
)
def test_webhook_form_keeps_what_was_typed(visitor: Visitor, field: str, form: dict[str, str]):
    """422, the sentence at the field, everything still there, nothing made."""
    sent = {"url": "http://127.0.0.1:9999/hook", "run.finished": "on", "description": "for the desk"} | form
    page = visitor.send(HOOKS, HOOKS, **sent)
    assert (422, True) == (page.status_code, f'id="e-{field}"' in page.text), words_of(page)
    assert all(f'value="{html.escape(sent[name])}"' in page.text for name in ("url", "description"))
    assert (" checked>" in page.text) == bool(sent["run.finished"])
    assert "No webhook yet" in visitor.get(HOOKS).text


def test_webhooks_of_another_vendor_are_404(visitor: Visitor, other: Visitor):
    """Whatever is asked of them."""
    path, _ = make_hook(visitor, description=HARM)
    assert 404 == other.get(path).status_code
    for verb in ("test", "rotate", "enable", "remove", "deliveries/whd_x/replay"):
        assert 404 == other.send(HOOKS, f"{path}/{verb}").status_code
    assert path not in other.get(HOOKS).text
    for page in (visitor.get(HOOKS), visitor.get(path)):
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;alert(1)" in page.text
