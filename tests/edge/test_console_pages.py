"""The public pages over real HTTP, without a browser: empty, full, and with names that mean harm."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from edges import serving
from sqlalchemy import text
from voices import make_voice, say, signal

from bench import pages_world
from mp_kit.contracts import Stage
from mp_kit.server.console.docs import PAGES
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import consensus
from mp_kit.server.wiring import build

PATHS = [
    "/marketplace",
    "/marketplace/leaderboard",
    "/consensus",
    "/marketplace/docs",
    "/marketplace/reports",
    "/marketplace/login",
]
HARM = "<script>alert(1)</script>\"'&amp;{{7*7}}"


@pytest.fixture(scope="module")
def full(house: House, migrated_url: Callable[[], str]) -> Iterator[SimpleNamespace]:
    """A marketplace with 120 models over a database of its own: a client, and a vendor's key."""
    settings = replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}", database_url=migrated_url())
    built = build(settings)
    key = pages_world.fill(built, models=120, each=100)
    with serving(built), httpx.Client(base_url=settings.base_url, timeout=30) as client:
        yield SimpleNamespace(client=client, key=key, house=built)
    built.close()


@pytest.fixture
def harmful(edge_house: House) -> SimpleNamespace:
    """A model in pilot of which every text means harm, with a signal that was blended."""
    with edge_house.db.begin() as tx:
        who = make_voice(tx, edge_house, f"{HARM} {id(tx)}", Stage.PILOT)
        given = {"harm": HARM, "id": who.model_id, "deployment": who.deployment_id, "tags": f'["{HARM[:17]}"]'}
        tx.execute(
            text("UPDATE models SET name = :harm, description = :harm, tags = CAST(:tags AS jsonb) WHERE id = :id"),
            {name: given[name] for name in ("harm", "tags", "id")},
        )
        tx.execute(text("UPDATE deployments SET name = :harm WHERE id = :deployment"), {
            "harm": HARM, "deployment": who.deployment_id})  # fmt: skip
        say(tx, who, signal(symbol="HARM/USD"))
        consensus.refresh(tx)
    return SimpleNamespace(model=who.model_id)


@pytest.mark.parametrize("path", PATHS)
def test_pages_without_any_data_say_what_to_do(edge: httpx.Client, path: str):
    """200, one heading of the first order, and a next step in place of an empty table."""
    page = edge.get(path)
    assert (200, 1) == (page.status_code, len(re.findall(r"<h1>", page.text)))
    assert "None" not in re.sub(r"<[^>]*>", " ", page.text)
    if path in PATHS[:3]:
        assert 'class="empty"' in page.text


@pytest.mark.parametrize("path", [*PATHS, "/marketplace/models/mod_3", "/consensus?symbol=EURUSD&method=equal"])
def test_pages_with_data_render(full: SimpleNamespace, path: str):
    """Whole pages, with nothing that a template forgot to show properly."""
    page = full.client.get(path)
    assert (200, True) == (page.status_code, page.text.rstrip().endswith("</html>"))
    said = re.sub(r"<[^>]*>", " ", page.text)
    assert not re.search(r"\bNone\b|nan\b|Undefined|Measured\(", said)
    assert "style=" not in page.text


@pytest.mark.parametrize("name", list(PAGES))
def test_docs_render_and_their_links_lead_somewhere(edge: httpx.Client, name: str):
    """Each page of the docs that is there, and each of its links to another."""
    listed = set(re.findall(r'href="/marketplace/docs/([a-z]+)', edge.get("/marketplace/docs").text))
    page = edge.get(f"/marketplace/docs/{name}")
    assert (200 if name in listed else 404) == page.status_code
    assert set(re.findall(r'href="/marketplace/docs/([a-z]+)', page.text)) <= listed
    assert "<h1" in page.text


@pytest.mark.parametrize("name", ["decisions", "%2e%2e", "wire.md", "%2e%2e%2fCHANGELOG", "console%00"])
def test_docs_show_no_other_file(edge: httpx.Client, name: str):
    """Only what is listed."""
    assert 404 == edge.get(f"/marketplace/docs/{name}").status_code


def test_catalogue_filters(full: SimpleNamespace):
    """By task, stage, symbol, timeframe and words, each alone and together; sorted; in pages."""

    def found(**query: object) -> list[str]:
        page = full.client.get("/marketplace", params=query)
        return re.findall(r'href="/marketplace/models/(mod_\d+)"', page.text)

    assert 50 == len(found())
    assert 50 == len(found(offset=50))
    assert 20 == len(found(offset=100))
    assert set() == set(found()) & set(found(offset=50))
    assert [] == found(q="nothing like this")
    assert ["mod_77"] == found(q="MODEL 77 vendor 28") == found(q="days 77", task="optimizer")
    assert [] == found(q="77", task="signal")
    assert {f"mod_{n}" for n in range(8, 121, 8)} == set(found(symbol="EURUSD"))
    assert {f"mod_{n}" for n in range(24, 121, 24)} == set(found(symbol="EURUSD", task="signal", timeframe="1h"))
    assert [] == found(stage="prod")
    assert [] == found(stage="no such")
    assert ["mod_1", "mod_10", "mod_100"] == found(sort="name")[:3]
    assert ["mod_1", "mod_2", "mod_3"] == found(sort="newest")[:3]


@pytest.fixture
def spoken(edge_house: House) -> SimpleNamespace:
    """A model whose deployment sent two batches about different bars, which no running count has yet."""
    with edge_house.db.begin() as tx:
        who = make_voice(tx, edge_house, f"Early {id(tx)}", Stage.PILOT)
        say(tx, who, signal(symbol="OLD/USD", timeframe="1d"))
        say(tx, who, signal(symbol="NEW/USD", timeframe="4h"), signal(symbol="TOO/USD", timeframe="4h"))
    return SimpleNamespace(model=str(who.model_id))


@pytest.mark.parametrize(
    "query", [{"symbol": "OLD/USD"}, {"timeframe": "1d"}, {"symbol": "NEW/USD", "timeframe": "4h"}, {}]
)
def test_catalogue_knows_what_no_count_has_yet(edge: httpx.Client, spoken: SimpleNamespace, query: dict[str, str]):
    """Before `score` ever ran, all batches are found by symbol and timeframe, and both are there to choose."""
    page = edge.get("/marketplace", params={"sort": "newest", **query}).text
    assert f'href="/marketplace/models/{spoken.model}"' in page
    for choice in ("OLD/USD", "NEW/USD", "1d", "4h"):
        assert f'<option value="{choice}"' in page


def test_catalogue_and_api_agree_before_any_count(edge: httpx.Client, spoken: SimpleNamespace):
    """The same symbols and timeframes of a model; its page has them, too."""
    [told] = [one for one in edge.get("/api/catalog").json()["data"] if one["id"] == spoken.model]
    page = edge.get("/marketplace", params={"sort": "newest"}).text
    row = next(row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if spoken.model in row)
    assert ", ".join(told["supported_symbols"]) in row
    assert ", ".join(told["supported_timeframes"]) in row
    own = edge.get(f"/marketplace/models/{spoken.model}").text
    assert ["NEW/USD", "OLD/USD", "TOO/USD"] == re.findall(r'<th scope="row">(\w+/USD) ', own)


@pytest.mark.parametrize(
    "query",
    ["offset=-1", "offset=x", "offset=99999999999", "sort=__class__", "symbol=%00", "page=%00", "q=%00", "q=%ff"],
)
def test_catalogue_bears_any_query(full: SimpleNamespace, query: str):
    """What makes no sense finds nothing or everything, and breaks nothing."""
    assert 200 == full.client.get(f"/marketplace?{query}").status_code


@pytest.mark.parametrize("query", ["symbol=%00", "method=vendor:x", "timeframe=2h", "symbol=NOPE&timeframe=1h"])
def test_consensus_bears_any_query(full: SimpleNamespace, query: str):
    """What is not there shows the newest."""
    page = full.client.get(f"/consensus?{query}")
    assert (200, True) == (page.status_code, "Who said what" in page.text)


def test_model_page_counts_signals_and_shows_none(full: SimpleNamespace):
    """Scores with their intervals, uptime, lineage from the round on; of the signals only how many."""
    page = html.unescape(full.client.get("/marketplace/models/mod_3").text)
    for part in ("100", "run_123", "Majors, hourly", "2.0.0", "Where it comes from", 'class="interval"', "<svg"):
        assert part in page
    assert "3.0.0" not in page  # a version in shadow is nobody's business
    assert "confidence_skill" not in page


def test_not_enough_data_is_said(full: SimpleNamespace):
    """A deployment without enough data has a reason in place of numbers, and no place in the order."""
    page = full.client.get("/marketplace/models/mod_7").text
    assert "12 of 30 days" in page
    board = full.client.get("/marketplace/leaderboard", params={"timeframe": "1h"}).text
    ranked = [row for row in re.findall(r"<tr>.*?</tr>", board, re.DOTALL) if "not enough data yet" not in row]
    assert 50 == len(ranked) - 1  # the head
    assert "Nothing is scored yet" in full.client.get("/marketplace/leaderboard", params={"timeframe": "4h"}).text


def test_consensus_shows_vendors_and_what_each_adds(full: SimpleNamespace):
    """Badges, shares, leave-one-out, and the course as a chart with its words."""
    page = full.client.get("/consensus", params={"symbol": "EURUSD", "timeframe": "1h"}).text
    assert 'class="badge info">Vendor' in page
    assert 'aria-label="Score of EURUSD over the last' in page
    assert "Without it" in page


def test_one_bar_is_no_plural(edge: httpx.Client, edge_house: House):
    """Of a symbol that was blended once."""
    with edge_house.db.begin() as tx:
        say(tx, make_voice(tx, edge_house, f"Once {id(tx)}", Stage.PILOT), signal(symbol="ONCE/USD"))
        consensus.refresh(tx)
    page = edge.get("/consensus", params={"symbol": "ONCE/USD", "timeframe": "1h"}).text
    assert "Score of the last bar<" in page
    assert "1 bars" not in page


@pytest.mark.parametrize("path", ["/marketplace", "/consensus", "/marketplace/models/{model}"])
def test_names_that_mean_harm_are_only_shown(edge: httpx.Client, harmful: SimpleNamespace, path: str):
    """Escaped wherever they stand, and no template is made of them."""
    page = edge.get(path.format(model=harmful.model))
    assert 200 == page.status_code
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert "{{7*7}}" in page.text or path == "/consensus"


@pytest.mark.parametrize("model_id", ["mod_nope", "%00", "%2e%2e", "'--", "<b>", "x" * 3_000])
def test_absent_models_are_404(edge: httpx.Client, model_id: str):
    """A page, whatever was asked for."""
    page = edge.get(f"/marketplace/models/{model_id}")
    assert page.status_code in {404, 422}
    assert "text/html" in page.headers["content-type"]


def test_models_in_shadow_are_their_vendors_alone(edge: httpx.Client, new_vendor: Callable[[], SimpleNamespace]):
    """404 to the public and to another vendor; to its own a page that says so."""
    owner, other = new_vendor(), new_vendor()
    body = {"name": "secret", "task": "signal", "version": "1"}
    made = edge.post("/api/vendors/models", json=body, headers=owner.headers).json()["data"]["model_id"]
    path = f"/marketplace/models/{made}"
    assert (404, 404) == (edge.get(path).status_code, seen_by(edge, other.key, path).status_code)
    own = seen_by(edge, owner.key, path)
    assert (200, True) == (own.status_code, "Only you see this page" in own.text)


def test_servers_of_versions_in_shadow_are_their_vendors_alone(full: SimpleNamespace):
    """A public model's page does not name them; the owner's view of the same page does."""
    with full.house.db.begin() as tx:
        tx.execute(
            text(
                "INSERT INTO deployments (id, vendor_id, name, provider, model_id, version_id)"
                " VALUES ('dep_dark', 'ven_1', 'rehearsal', 'byoc', 'mod_50', 'ver_50_3')"
            )
        )
    path = "/marketplace/models/mod_50"
    assert "rehearsal" not in full.client.get(path).text
    assert "rehearsal" in seen_by(full.client, full.key, path).text


def test_database_that_is_down_is_a_page_of_its_own(house: House):
    """503 in the layout, with when to come back; never a trace."""
    gone = build(replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}",
                         database_url="postgresql://nobody@127.0.0.1:9/nothing"))  # fmt: skip
    with serving(gone), httpx.Client(base_url=gone.settings.base_url, timeout=30) as client:
        page = client.get("/marketplace")
    gone.close()
    assert (503, True, True) == (page.status_code, "retry-after" in page.headers, "Back soon" in page.text)
    assert "psycopg" not in page.text


def seen_by(edge: httpx.Client, key: str, path: str) -> httpx.Response:
    """A page as the vendor of a key sees it."""
    session = edge.post("/api/vendors/login", json={"api_key": key}).json()["data"]["token"]
    with httpx.Client(base_url=edge.base_url, cookies={"mp_session": session}, timeout=30) as client:
        return client.get(path)
