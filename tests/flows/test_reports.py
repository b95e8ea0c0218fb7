"""Every report notebook, run once over a marketplace that has something to tell; and what becomes of a report."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browsers import browsing
from mailboxes import mailbox
from voices import make_voice, say, signal

from mp_kit.contracts import Stage, WebhookEventType, WebhookRequest
from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.server import bundle, report_making, reporting
from mp_kit.server.house import House
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.mail import Mailer
from mp_kit.server.report_making import FOLDER, Order, produce
from mp_kit.server.services import consensus, publication, reports, rounds, scores, webhooks
from mp_kit.server.services.publication import RoundOrder
from mp_kit.server.store import webhooks as webhook_rows
from mp_kit.signing import open_manifest

pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's libraries warn about one another
NOTEBOOKS = sorted((bundle.root() / FOLDER).glob("*.ipynb"))


@pytest.fixture(scope="module")
def furnished(house: House) -> dict[str, str]:
    """A round, two vendors that spoke about its bars, a consensus, scores; gives vendors' ids by name."""
    publication.run(
        house.db.begin, house.store, house.signer, RoundOrder(source="ecb", symbols=["EURUSD"]), actor="test"
    )
    with house.db.begin() as tx:
        found = rounds.get(tx, "current")
        payload, signature = rounds.manifest(tx, found.round_id)
        manifest = open_manifest(payload, signature, {key.key_id: key for key in rounds.keys(tx)})
        last = max(file.max_time for file in manifest.files if file.max_time)
        vendors = {}
        for name in ("Ada", "Bob"):
            voice = make_voice(tx, house, name, Stage.PILOT)
            when = {"timestamp": last.isoformat(), "event_time": last.isoformat(), "timeframe": "1d"}
            say(tx, voice, signal(**when))
            vendors[name] = str(voice.vendor_id)
    with house.db.begin() as tx:
        consensus.refresh(tx)
        judge = scores.judges(tx)[0]
    market = scores.market_of(house.store, judge)
    with house.db.begin() as tx:
        told = scores.statements(tx, market)
        scores.keep(tx, judge, market, scores.compute(market, told))
    return vendors


@pytest.fixture
def at_home(house: House, furnished: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> House:
    """Kernels open this house, which has something to tell."""
    assert furnished
    monkeypatch.setenv("MP_HOME", str(house.settings.home))
    monkeypatch.setenv("MP_DATABASE_URL", house.settings.database_url)
    return house


def order(name: str, **parameters: Any) -> Order:
    return Order(name, parameters, seconds=200)


def words(house: House, report_id: str) -> str:
    with house.db.begin() as tx:
        return reports.html(house.store, reports.find(tx, report_id)).decode()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real one, to print with."""
    with browsing() as started:
        yield started


def sheets(browser: Any, html: str) -> tuple[int, int]:
    """Sheets of A4 that a page takes, and its width on a phone of 390 pixels."""
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.set_content(html)
    width = page.evaluate("document.documentElement.scrollWidth")
    printed = page.pdf(prefer_css_page_size=True)
    page.close()
    return len(re.findall(rb"/Type\s*/Page\b", printed)), width


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs(path: Path):
    """Outputs are for those who run it."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [[]] * len(cells) == [cell.outputs for cell in cells]
    assert reporting.kind_of(path).title


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("daily", "Signals"),
        ("round_quality", "No feature knows the future, in 1 symbols audited."),
        ("training_costs", "Not enough data yet: no machine was started."),
        ("weekly_consensus", "decisions of the first method have their outcome"),
    ],
)
def test_report_is_made(at_home: House, browser: Any, name: str, says: str):
    """It runs through over this marketplace and says what there is to say, without warnings, on one sheet of paper."""
    made = produce(at_home, order(name))
    assert made.failure is None
    page = words(at_home, made.report_id)
    assert says in page
    assert 'output_stderr output_text"' not in page
    assert (1, 390) == sheets(browser, page)


@pytest.mark.slow
def test_daily_report_tells_each_timeframe(at_home: House):
    """A symbol has a row for each timeframe that was blended; times end at their minute."""
    with at_home.db.begin() as tx:
        say(tx, make_voice(tx, at_home, "Two", Stage.PILOT), signal(timeframe="4h"), signal(timeframe="15m"))
        consensus.refresh(tx)
    made = produce(at_home, order("daily"))
    assert made.failure is None
    page = words(at_home, made.report_id)
    consensus_part = page.partition(">Consensus")[2].partition(">Training runs")[0]
    rows = [
        re.findall(r"<td[^>]*>([^<]*)</td>", row)[:3] for row in re.findall(r"<tr>.*?</tr>", consensus_part, re.DOTALL)
    ]
    told = {row[1]: row[2] for row in rows if row and row[0] == "EURUSD"}
    assert {"15m", "1d", "4h"} <= set(told)
    assert "2026-01-05 10:00" == told["4h"]


@pytest.mark.slow
def test_scorecard_is_mailed_and_for_its_vendor_alone(at_home: House, furnished: dict[str, str], browser: Any):
    """Its vendor finds it, another one and the public do not; the mail has it attached; its webhook is told."""
    guard = AddressGuard(allow_private=True)
    for vendor in (None, *furnished.values()):
        wanted = WebhookRequest(url="http://127.0.0.1:9999/x", events=["report.finished"])
        webhooks.create(at_home.db.begin, at_home.vault, guard, vendor, wanted, actor="test")
    with mailbox() as box:
        mailing = dataclasses.replace(at_home, mailer=Mailer(f"smtp://127.0.0.1:{box.port}", ("ops@example.com",)))
        made = produce(mailing, order("vendor_scorecard", vendor="Ada"))
    assert (None, ()) == (made.failure, made.warnings)
    assert f"{at_home.settings.base_url}/marketplace/vendor/reports/{made.report_id}" == made.where
    with at_home.db.begin() as tx:
        assert [made.report_id] == [one.id for one in reports.shown(tx, furnished["Ada"])]
        assert "Scorecard: Ada" == reports.show(tx, made.report_id, furnished["Ada"]).title
        for other in (furnished["Bob"], None):
            with pytest.raises(NotFoundError):
                reports.show(tx, made.report_id, other)
        endpoints = [webhooks.list_of(tx, one)[0].id for one in (None, *furnished.values())]
        heard = [len(webhook_rows.deliveries(tx, one, limit=9)) for one in endpoints]
    assert [0, 1, 0] == heard
    page = words(at_home, made.report_id)
    assert "Bob" not in page
    assert (1, 390) == sheets(browser, page)
    [mail] = box.mails
    [attached] = mail.iter_attachments()
    assert ("Scorecard: Ada", f"{made.report_id}.html") == (mail["Subject"], attached.get_filename())


def test_delivery_that_fails_is_a_warning(at_home: House, monkeypatch: pytest.MonkeyPatch):
    """The report stands."""
    monkeypatch.setattr(reporting, "make", lambda *_, **__: reporting.Made(None, None, None))
    with mailbox(refuses=True) as box:
        mailing = dataclasses.replace(at_home, mailer=Mailer(f"smtp://127.0.0.1:{box.port}", ("ops@example.com",)))
        made = report_making.produce(mailing, order("daily"))
    assert made.failure is None
    assert ["It was not mailed."] == [one[:18] for one in made.warnings]


def test_report_that_blows_up_is_noted(at_home: House, monkeypatch: pytest.MonkeyPatch):
    """Its row says why; it does not stay running."""

    def explode(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(reporting, "make", explode)
    with pytest.raises(OSError, match="no space"):
        produce(at_home, order("daily"))
    with at_home.db.begin() as tx:
        newest = reports.every(tx, name="daily", limit=1)[0]
    assert ("failed", "OSError: no space left") == (newest.status, newest.failure)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (order("vendor_scorecard"), InvalidInputError),
        (order("vendor_scorecard", vendor="Nobody"), NotFoundError),
        (order("daily", hour=1), InvalidInputError),
        (order("../daily"), NotFoundError),
    ],
)
def test_order_that_does_not_fit_leaves_nothing(at_home: House, wanted: Order, error: type[Exception]):
    """Refused before there is a row."""
    with at_home.db.begin() as tx:
        before = len(reports.every(tx, limit=1000))
    with pytest.raises(error):
        produce(at_home, wanted)
    with at_home.db.begin() as tx:
        assert before == len(reports.every(tx, limit=1000))


@pytest.mark.parametrize(("audience", "hearers"), [("public", 3), ("operator", 1)])
def test_who_hears_of_a_report(house: House, furnished: dict[str, str], audience: str, hearers: int):
    """Everybody, or the operator's endpoints alone; ids and words, nothing that the report says."""
    guard = AddressGuard(allow_private=True)
    made = []
    for vendor in (None, *furnished.values()):
        wanted = WebhookRequest(url="http://127.0.0.1:9999/x", events=[WebhookEventType.REPORT_FINISHED])
        made.append(webhooks.create(house.db.begin, house.vault, guard, vendor, wanted, actor="test"))
    with house.db.begin() as tx:
        report_id = reports.begin(tx, "x", {}, None, audience=reports.Audience(audience))
        reports.end(tx, report_id, object_key="reports/x/y.html")
        heard = [len(webhook_rows.deliveries(tx, one.id, limit=9)) for one in made]
        owners = (None, *furnished.values())
        for owner, one in zip(owners, made, strict=True):
            webhooks.remove(tx, owner, one.id, actor="test")
    assert hearers == sum(heard)
    assert json.dumps(heard) == ("[1, 1, 1]" if audience == "public" else "[1, 0, 0]")
