"""A vendor's own pages over real HTTP, without a browser: empty, furnished, with names that mean harm, of another."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from desks import Visitor, at_work, csrf_of, furnish, now, order, publish, words_of
from sqlalchemy import text

from bench import pages_world
from mp_kit.contracts.training import LogChunk, LogChunkLine
from mp_kit.server.console.pages import TEMPLATES
from mp_kit.server.edge import log_streams
from mp_kit.server.house import House
from mp_kit.server.services import runs, vendors

ROOT = "/marketplace/vendor"
TRAINING = f"{ROOT}/training"
PLACES = ("models", "deployments", "connections", "keys", "webhooks")
NEW = [f"{ROOT}/{name}/new" for name in ("training", "models", "deployments")]
PATHS = [ROOT, TRAINING, *NEW, *(f"{ROOT}/{name}" for name in PLACES)]
OF_ONE = ("tokens", "tokens/rotate", "tokens/revoke", "server/scale", "server/stop", "server/start", "server/remove")
FORMS = [*NEW, f"{TRAINING}/run_x/cancel", *(f"{ROOT}/{name}" for name in ("keys", "webhooks")),
         f"{ROOT}/models/mod_x/versions/ver_x/stage",
         *(f"{ROOT}/deployments/dep_x/{verb}" for verb in OF_ONE)]  # fmt: skip
HARM = "<script>alert(1)</script>\"'&amp;{{7*7}}"
ORDER = {"round_id": "rnd_desk", "task": "signal", "provider": "byoc", "max_hours": "2", "max_cost_usd": "3"}


@pytest.fixture
def desk(edge_house: House, vendor: SimpleNamespace) -> SimpleNamespace:
    """Something of everything on the vendor's desk."""
    return furnish(edge_house, vendor.id)


@pytest.fixture
def a_round(edge_house: House) -> None:
    """A round to order runs on."""
    with edge_house.db.begin() as tx:
        publish(tx)


def owned(desk: SimpleNamespace) -> list[str]:
    """Pages of what belongs to one vendor."""
    runs = [f"{TRAINING}/{run_id}" for run_id in (desk.running, desk.waiting, desk.finished)]
    return [*runs, f"{ROOT}/models/{desk.model}", f"{ROOT}/deployments/{desk.deployment}"]


@pytest.mark.parametrize("path", [*PATHS, f"{TRAINING}/run_x", f"{TRAINING}/run_x/stream"])
def test_pages_need_a_session(edge: httpx.Client, path: str):
    """Nobody gets in without one; a page leads to the login and back."""
    answer = edge.get(path)
    assert answer.status_code in {303, 401}
    if answer.status_code == 303:
        assert f"/marketplace/login?next={quote(path, safe='')}" == answer.headers["location"]


@pytest.mark.parametrize("path", PATHS)
def test_pages_of_a_new_vendor_say_what_to_do(visitor: Visitor, path: str):
    """200, one heading of the first order, and a next step; no number is made up."""
    page = visitor.get(path)
    assert (200, 1) == (page.status_code, len(re.findall("<h1>", page.text)))
    assert "no-store" == page.headers["cache-control"]
    assert not re.search(r"\bNone\b|\bnan\b|Undefined", words_of(page))
    assert "style=" not in page.text


def test_desk_of_a_new_vendor_has_no_sharpe_ratio(visitor: Visitor):
    """Not enough data, and where to begin."""
    page = visitor.get(ROOT)
    assert "not enough data yet" in page.text
    assert 'class="empty"' in page.text
    assert "95 % interval " not in words_of(page).replace("An interval", "")


def test_pages_with_data(visitor: Visitor, desk: SimpleNamespace):
    """Everything that the desk holds is on it, and whole."""
    for path in [*PATHS, *owned(desk)]:
        page = visitor.get(path)
        assert (200, True) == (page.status_code, page.text.rstrip().endswith("</html>")), path
        assert not re.search(r"\bNone\b|\bnan\b|Undefined|Measured\(", words_of(page)), path
    front = visitor.get(ROOT).text
    for part in (desk.running, desk.waiting, desk.model, desk.deployment, "The job sent its first heartbeat."):
        assert part in front


def test_desk_shows_a_score_with_its_interval(visitor: Visitor, desk: SimpleNamespace, edge_house: House):
    """The Sharpe ratio stands with both ends of its interval, never alone."""
    card, nothing = pages_world._card(random.Random(2)), pages_world._near(0.0).model_dump()
    with edge_house.db.begin() as tx:
        tx.execute(
            text(
                "INSERT INTO model_scores (round_id, deployment_id, timeframe, enough_data, bars, sharpe, dsr, card,"
                " standing, tries_by_round) VALUES ('rnd_desk', :id, '1h', true, 1000, :sharpe, :dsr,"
                " CAST(:card AS jsonb), CAST(:standing AS jsonb), '{}')"
            ),
            {
                "id": desk.deployment, "sharpe": card.sharpe.value, "dsr": card.dsr.value,
                "card": card.model_dump_json(),
                "standing": json.dumps({"contribution": nothing, "mmc": nothing}),
            },
        )  # fmt: skip
    said = words_of(visitor.get(ROOT)).replace("\N{MINUS SIGN}", "-")
    assert f"95 % interval {card.sharpe.low:,.2f} to {card.sharpe.high:,.2f}" in said


@pytest.mark.usefixtures("a_round")
def test_list_filters_and_pages(visitor: Visitor, vendor: SimpleNamespace, edge_house: House):
    """By status, task and provider; 25 on a page; what no run has finds nothing."""
    with edge_house.db.begin() as tx:
        for number in range(30):
            order(tx, vendor.id, task="signal" if number % 3 else "optimizer")

    def found(**query: Any) -> list[str]:
        return re.findall(rf'href="{TRAINING}/(run_\w+)"', visitor.get(TRAINING, **query).text)

    assert (25, 5) == (len(found()), len(found(offset=25)))
    assert 30 == len({*found(), *found(offset=25)})
    assert (10, 20) == (len(found(task="optimizer")), len(found(task="signal")))
    assert 20 == len(found(task="signal", status="queued", provider="byoc"))
    assert [] == found(status="failed")
    assert [] == found(status="no such") == found(provider="' OR 1=1")
    assert 25 == len(found(offset="x")) == len(found(offset="-1"))
    assert "Nothing fits" in visitor.get(TRAINING, status="failed").text
    assert "offset=25" in visitor.get(TRAINING, status="queued").text


def test_run_page_tells_all(visitor: Visitor, desk: SimpleNamespace):
    """Status in words, the log's tail, metrics as lines, cost against budget, history, and the way to cancel."""
    page = visitor.get(f"{TRAINING}/{desk.running}")
    for part in ("The job is at work", "epoch 2", "step 7 of 12", "Dollars at most", "as planned", "Cancel this run"):
        assert part in words_of(page), part
    assert 2 == page.text.count('<svg class="chart"')
    assert f'data-stream="{TRAINING}/{desk.running}/stream" data-next="2"' in page.text
    waiting = visitor.get(f"{TRAINING}/{desk.waiting}")
    assert "No metrics yet" in waiting.text
    assert f"mp train env {desk.waiting}" in waiting.text


def test_cancelling(visitor: Visitor, desk: SimpleNamespace):
    """By a form; again changes nothing, and the page no longer offers it."""
    path = f"{TRAINING}/{desk.waiting}"
    answer = visitor.send(path, f"{path}/cancel")
    assert (303, path) == (answer.status_code, answer.headers["location"])
    page = visitor.get(path)
    assert "The run is cancelled." in page.text
    assert "Cancel this run" not in page.text
    assert "data-stream" not in page.text
    assert 303 == visitor.send(path, f"{path}/cancel").status_code
    running = f"{TRAINING}/{desk.running}"
    visitor.send(running, f"{running}/cancel")
    assert "You cancelled it; its machine is being given back." in visitor.get(running).text


def test_another_vendors_things_are_absent(visitor: Visitor, other: Visitor, desk: SimpleNamespace):
    """404, whatever the page, and nothing of them on one's own."""
    for path in owned(desk):
        assert 404 == other.get(path).status_code, path
    assert 404 == other.get(f"{TRAINING}/{desk.running}/stream").status_code
    assert 404 == other.send(TRAINING, f"{TRAINING}/{desk.running}/cancel").status_code
    for path in PATHS:
        page = other.get(path).text
        assert not [name for name in vars(desk).values() if name in page]
    assert "The job is at work" in visitor.get(f"{TRAINING}/{desk.running}").text


@pytest.mark.parametrize("run_id", ["run_nope", "%00", "%2e%2e", "'--", "<b>", "x" * 3_000])
def test_absent_runs_are_404(visitor: Visitor, run_id: str):
    """A page, whatever was asked for."""
    page = visitor.get(f"{TRAINING}/{run_id}")
    assert page.status_code in {404, 422}
    assert "text/html" in page.headers["content-type"]


def test_names_that_mean_harm_are_only_shown(visitor: Visitor, vendor: SimpleNamespace, edge_house: House):
    """What jobs, vendors and operators wrote is escaped wherever it stands."""
    harmful = furnish(edge_house, vendor.id, name=HARM, said=HARM)
    with edge_house.db.begin() as tx:
        publish(tx, "rnd_harm", HARM)
        tx.execute(
            text("UPDATE training_runs SET failure = :harm, round_id = 'rnd_harm', metrics = CAST(:m AS jsonb)"
                 " WHERE id = :id"),
            {"harm": HARM, "id": harmful.running,
             "m": json.dumps({HARM: HARM, "history": [{"step": 1, HARM: 1}, {"step": 2, HARM: 2}]})},
        )  # fmt: skip
    for path in [*PATHS, *owned(harmful)]:
        page = visitor.get(path)
        assert 200 == page.status_code, path
        assert "<script>alert" not in page.text, path
    page = visitor.get(f"{TRAINING}/{harmful.running}").text
    assert 5 <= page.count("&lt;script&gt;alert(1)")
    assert "{{7*7}}" in page


@pytest.mark.parametrize(
    "history", [None, 7, "x", [], [1, None], [{"step": "1", "a": 1}], [{"step": 1, "a": "b"}], [{"a": 1}, {"step": 2}]]
)
@pytest.mark.usefixtures("a_round")
def test_histories_of_any_shape(visitor: Visitor, vendor: SimpleNamespace, edge_house: House, history: Any):
    """A job may send what it likes: what makes no line is left out."""
    with edge_house.db.begin() as tx:
        run_id = order(tx, vendor.id)
        at_work(tx, run_id, history=history)
    page = visitor.get(f"{TRAINING}/{run_id}")
    assert (200, False) == (page.status_code, '<svg class="chart"' in page.text)


def test_log_streams_by_the_session(visitor: Visitor, desk: SimpleNamespace, edge_house: House,
                                    monkeypatch: pytest.MonkeyPatch):  # fmt: skip
    """From the line that the page ended at, until the run is over."""
    monkeypatch.setattr(log_streams, "POLL_SECONDS", 0.02)
    with edge_house.db.begin() as tx:
        line = LogChunkLine(at=now(), stream="stdout", text="epoch 3")
        runs.append_logs(tx, desk.running, LogChunk(seq=2, lines=[line]), now=now())
        tx.execute(text("UPDATE training_runs SET state = 'cancelling' WHERE id = :id"), {"id": desk.running})
        tx.execute(
            text("UPDATE training_runs SET state = 'cancelled', finished_at = now() WHERE id = :id"),
            {"id": desk.running},
        )
    told = visitor.get(f"{TRAINING}/{desk.running}/stream", after=1).text
    assert ["epoch 2", "epoch 3"] == [json.loads(one)["text"] for one in re.findall(r"event: log\s+data: (.*)", told)]
    assert "event: end" in told


@pytest.mark.usefixtures("a_round")
def test_ordering_a_run(visitor: Visitor, edge_house: House):
    """The form leads to the run's page; the same form sent again is the same run."""
    page = visitor.get(f"{TRAINING}/new")
    key = re.search(r'name="key" value="([^"]+)"', page.text)
    assert key is not None
    form = {
        "csrf": csrf_of(page),
        "key": key[1],
        "do": "order",
        "hyperparams": "epochs=3\nmodel_type=logistic",
        **ORDER,
    }
    first, second = (visitor.client.post(f"{TRAINING}/new", data=form) for _ in range(2))
    assert (303, first.headers["location"]) == (second.status_code, second.headers["location"])
    run_id = first.headers["location"].rpartition("/")[2]
    with edge_house.db.begin() as tx:
        spec = tx.execute(text("SELECT spec FROM training_runs WHERE id = :id"), {"id": run_id}).scalar_one()
    assert {"epochs": 3, "model_type": "logistic"} == spec["hyperparams"]
    assert {"max_hours": 2.0, "max_cost_usd": 3.0} == spec["budget"]
    changed = visitor.client.post(f"{TRAINING}/new", data=form | {"max_hours": "1"})
    assert (409, True) == (changed.status_code, "with another body" in changed.text)
    fresh = re.search(r'name="key" value="([^"]+)"', changed.text)
    assert fresh is not None
    assert fresh[1] != key[1]
    assert 'value="1"' in changed.text


@pytest.mark.usefixtures("a_round")
def test_estimate_orders_nothing(visitor: Visitor):
    """What it would cost, with everything that was typed; no run comes of it."""
    page = visitor.send(f"{TRAINING}/new", f"{TRAINING}/new", do="estimate", gpu="L4", **ORDER)
    assert (200, True) == (page.status_code, "At the worst" in page.text)
    assert "a machine of your own" in page.text
    assert 'value="L4"' in page.text
    assert "No training run yet" in visitor.get(TRAINING).text


@pytest.mark.parametrize(
    ("field", "typed", "says"),
    [
        ("max_hours", "abc", "It must be a number"),
        ("max_hours", "-1", "It must be above 0"),
        ("max_hours", "nan", "It must be above 0"),
        ("max_cost_usd", "1e99", "It must be above 0"),
        ("hyperparams", "epochs", "Line 1"),
        ("hyperparams", "epochs=3\nlr=\n", "Line 2"),
        ("hyperparams", "epochs=3\nepochs=4", "a second time"),
        ("hyperparams", "epochs=-3", "Hyperparameter epochs"),
        ("hyperparams", "ephocs=3", "is not known here"),
        ("hyperparams", HARM, "Line 1"),
        ("hyperparams", "a" * 30_000, "characters"),
        ("task", "nothing", "Choose one of"),
        ("provider", "moon", "Choose one of"),
        ("provider", "runpod", "RunPod"),
        ("round_id", "", "Choose a round"),
        ("round_id", "rnd_nope", "no round"),
        ("hf_repo_id", "no slash", "a slash between them"),
        ("wandb_project", "fx", "not ticked"),
    ],
)
@pytest.mark.usefixtures("a_round")
def test_errors_stand_at_their_field_and_input_stays(visitor: Visitor, field: str, typed: str, says: str):
    """Each at its own field, read out with it; nothing that was typed elsewhere is lost."""
    form = ORDER | {"gpu": "NVIDIA L4", field: typed}
    do = "estimate" if field == "provider" else "order"
    page = visitor.send(f"{TRAINING}/new", f"{TRAINING}/new", do=do, **form)
    assert page.status_code in {404, 409, 422}, page.text
    told = re.search(rf'id="e-{field}">(.*?)</p>', page.text, re.DOTALL)
    assert told is not None, re.findall(r'id="e-(.*?)">(.*?)<', page.text)
    assert says in told[1]
    assert re.search(rf'id="f-{field}"[^>]*aria-invalid="true"', page.text)
    assert 'value="NVIDIA L4"' in page.text
    assert "<script>alert" not in page.text
    assert "No training run yet" in visitor.get(TRAINING).text


@pytest.mark.usefixtures("a_round")
def test_estimate_says_that_a_budget_is_over_the_ceiling(visitor: Visitor, vendor: SimpleNamespace, edge_house: House):
    """Before anything is ordered, with both amounts."""
    with edge_house.db.begin() as tx:
        tx.execute(text("UPDATE marketplace_vendors SET monthly_ceiling_usd = 1 WHERE id = :id"), {"id": vendor.id})
    page = visitor.send(f"{TRAINING}/new", f"{TRAINING}/new", do="estimate", **ORDER)
    assert "It would be refused." in page.text


@pytest.mark.parametrize(
    "path",
    [*FORMS, f"{ROOT}/connections/wandb"],
)
def test_forms_without_their_token_are_refused(visitor: Visitor, path: str):
    """403, whatever they say."""
    for form in ({}, {"csrf": "0" * 64}):
        assert 403 == visitor.client.post(path, data=form | ORDER).status_code


@pytest.mark.usefixtures("a_round")
def test_ended_session_leads_to_the_login_and_back(visitor: Visitor, vendor: SimpleNamespace, edge_house: House):
    """Of a page as of a form; nothing is ordered."""
    page = visitor.get(f"{TRAINING}/new")
    with edge_house.db.begin() as tx:
        vendors.end_sessions(tx, vendor.id, actor="test")
    back = f"/marketplace/login?next={quote(f'{TRAINING}/new', safe='')}"
    headers = {"referer": f"{visitor.client.base_url}{TRAINING}/new"}
    form = {"csrf": csrf_of(page), "do": "order", **ORDER}
    answer = visitor.client.post(f"{TRAINING}/new", data=form, headers=headers)
    assert (303, back) == (answer.status_code, answer.headers["location"])
    with Visitor(str(visitor.client.base_url), vendor.key) as again:
        assert "No training run yet" in again.get(TRAINING).text


def test_commands_on_pages_exist():
    """Each `mp` line of a template is a command of the reference, and so is each of its options."""
    reference = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = {part.partition("\n")[0]: part for part in re.split(r"^##+ ", reference, flags=re.MULTILINE)}
    lines = [
        (path.name, line.strip())
        for path in sorted(TEMPLATES.rglob("*.html"))
        for code in re.findall(r"<code>(mp [^<]*)</code>", path.read_text(encoding="utf-8"))
        for line in code.splitlines()
    ]
    assert 12 <= len(lines)
    for name, line in lines:
        words = re.sub(r"{{.*?}}", "ID", line).split()
        command = next((" ".join(words[:n]) for n in (4, 3, 2) if " ".join(words[:n]) in sections), "")
        assert command, (name, line)
        for option in re.findall(r"--[a-z-]+", line):
            assert f"`{option} " in sections[command] or f"`{option}`" in sections[command], (name, line)
