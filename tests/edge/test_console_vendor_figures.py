"""What programs told, as a vendor's pages show it: orders, metrics, heartbeats, uptime, and what happened last."""

from __future__ import annotations

import html
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from desks import Visitor, at_work, furnish, order, publish, words_of
from sqlalchemy import text

from mp_kit.server.house import House

ROOT = "/marketplace/vendor"
TRAINING = f"{ROOT}/training"
HARM = "<script>alert(1)</script>\"'&amp;{{7*7}}"


@pytest.fixture
def desk(edge_house: House, vendor: SimpleNamespace) -> SimpleNamespace:
    """Something of everything on the vendor's desk."""
    return furnish(edge_house, vendor.id)


@pytest.fixture
def a_round(edge_house: House) -> None:
    """A round to order runs on."""
    with edge_house.db.begin() as tx:
        publish(tx)


@pytest.mark.usefixtures("a_round")
def test_run_page_tells_what_was_ordered(visitor: Visitor, vendor: SimpleNamespace, edge_house: House):
    """Hyperparameters and bounds as they were named, and how long it has been at work."""
    ordered = {"hyperparams": {"epochs": 12, "lr": 1.2e-07, "model_type": HARM}, "budget": {"max_hours": 2.5}}
    with edge_house.db.begin() as tx:
        run_id, bare = order(tx, vendor.id, **ordered), order(tx, vendor.id)
        at_work(tx, run_id)
        tx.execute(
            text("UPDATE training_runs SET started_at = now() - interval '65 minutes' WHERE id = :id"), {"id": run_id}
        )
    page = visitor.get(f"{TRAINING}/{run_id}")
    said = re.sub(r"\s+", " ", words_of(page))
    for part in (
        "Hours at most 2.5",
        "Dollars at most not charged here",
        "At work for 1 h 5 min",
        "epochs 12",
        "1.2e\N{MINUS SIGN}07",
    ):
        assert part in said, said
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    waiting = re.sub(r"\s+", " ", words_of(visitor.get(f"{TRAINING}/{bare}")))
    assert "defaults hold" in waiting
    assert "At work for not begun" in waiting


@pytest.mark.usefixtures("a_round")
def test_metrics_are_as_people_write_them(visitor: Visitor, vendor: SimpleNamespace, edge_house: House):
    """No digits that mean nothing, no number that became nothing, no word of Python's."""
    metrics = {"epochs": 25.0, "rows": 36232.0, "tiny": 1.2e-07, "early": True, "none": None, "nested": {"a": None}}
    with edge_house.db.begin() as tx:
        run_id = order(tx, vendor.id)
        at_work(tx, run_id)
        tx.execute(
            text("UPDATE training_runs SET metrics = CAST(:told AS jsonb) WHERE id = :id"),
            {"told": json.dumps(metrics), "id": run_id},
        )
    page = visitor.get(f"{TRAINING}/{run_id}").text
    table = page.partition('aria-label="Metrics"')[2].partition("</table>")[0]
    cells = dict(re.findall(r'<th scope="row" class="clip">(\w+)</th><td class="num">([^<]*)</td>', table))
    assert {"early": "yes", "epochs": "25", "nested": "{&#34;a&#34;: null}", "none": "\N{EN DASH}", "rows": "36,232",
            "tiny": "1.2e\N{MINUS SIGN}07"} == cells  # fmt: skip


def test_desk_gives_each_run_one_line(visitor: Visitor, desk: SimpleNamespace):
    """The newest that happened to it; its page has the rest."""
    part = visitor.get(ROOT).text.partition("What happened last")[2]
    found = re.findall(rf'href="{TRAINING}/(run_\w+)"', part)
    assert sorted(set(found)) == sorted(found)
    assert desk.running in found


HEARTBEATS: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "a server of ours": (
        {"cpu_percent": 12.5, "memory_bytes": 226390016, "latency_p50_ms": None, "requests": 3},
        ["cpu", "memory", "requests"],
        ["12.5 %", "216 MiB", "3"],
    ),
    "one within another": ({"gpu": {"percent": 40.0, "name": HARM}}, ["gpu name", "gpu"], [HARM, "40 %"]),
    "none": ({}, [], []),
    "too many": ({f"m{n:02}": n for n in range(12)}, [*(f"m{n:02}" for n in range(9)), "more"],
                 [*(str(n) for n in range(9)), "m09 9, m10 10, m11 11"]),
}  # fmt: skip


@pytest.mark.parametrize("case", HEARTBEATS.values(), ids=HEARTBEATS)
def test_heartbeats_have_columns(visitor: Visitor, desk: SimpleNamespace, edge_house: House,
                                 case: tuple[dict[str, Any], list[str], list[str]]):  # fmt: skip
    """A column for each figure, with its unit; none for words where there were none; nothing is a dictionary."""
    metrics, names, values = case
    with edge_house.db.begin() as tx:
        tx.execute(
            text("UPDATE deployment_heartbeats SET metrics = CAST(:told AS jsonb), message = NULL WHERE"
                 " deployment_id = :id"),
            {"told": json.dumps(metrics), "id": desk.deployment},
        )  # fmt: skip
    page = visitor.get(f"{ROOT}/deployments/{desk.deployment}").text
    table = html.unescape(page.partition('aria-label="Heartbeats"')[2].partition("</table>")[0])
    assert ["Came", "Said", *names] == re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', table)
    cells = re.findall(r'<td class="num">(.*?)</td>', table)
    assert values == [cell.replace("\N{NARROW NO-BREAK SPACE}", " ") for cell in cells]
    assert "<script>alert" not in page


def test_uptime_of_a_young_server_is_not_a_days(visitor: Visitor, desk: SimpleNamespace):
    """It says of which minutes it speaks, on both its pages."""
    for path in (f"{ROOT}/deployments/{desk.deployment}", f"/marketplace/models/{desk.model}"):
        assert "the last 24 h" not in (said := words_of(visitor.get(path)))
        assert "Heard, its first" in said
