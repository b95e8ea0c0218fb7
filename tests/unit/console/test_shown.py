"""How numbers, times and charts are shown, without a server."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest

from mp_kit.contracts.measured import Measured
from mp_kit.server.console import charts, shown
from mp_kit.server.console.charts import Bar, Point
from mp_kit.server.console.visits import safe_path

HARM = "<script>\"'&"


@pytest.mark.parametrize(
    ("value", "said"),
    [(Decimal("1234.5"), "$1,234.50"), (0.0, "$0.00"), (-2.5, "\N{MINUS SIGN}$2.50"), (None, "not known yet")],
)
def test_money(value: Decimal | float | None, said: str):
    """Dollars and cents; what is unknown is not 0."""
    assert said in str(shown.money(value))


def test_measured_stands_with_its_interval():
    """Value and both ends; a share as percentages."""
    assert "0.50" in shown.measured(Measured(value=0.5, low=-0.1, high=1.1))
    assert "\N{MINUS SIGN}0.10 to 1.10" in shown.measured(Measured(value=0.5, low=-0.1, high=1.1))
    assert "48.0 to 56.0" in shown.measured(Measured(value=0.52, low=0.48, high=0.56), 1, percent=True)
    assert "interval" not in shown.measured(Measured(value=0.5))


@pytest.mark.parametrize("found", [None, Measured(), Measured(reason=HARM)])
def test_unknown_is_never_a_number(found: Measured | None):
    """The reason is in the tooltip, escaped."""
    said = str(shown.measured(found))
    assert "not enough data yet" in said
    assert "<script>" not in said
    assert not re.search(r">\s*[\d.]+\s*<", said)


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(seconds=3), "just now"),
        (timedelta(seconds=45), "45 seconds ago"),
        (timedelta(seconds=61), "1 minute ago"),
        (timedelta(hours=5), "5 hours ago"),
        (timedelta(days=3), "3 days ago"),
        (timedelta(minutes=-30, seconds=-5), "in 30 minutes"),
    ],
)
def test_instants_are_relative_and_exact(ago: timedelta, said: str):
    """What people say, and the instant itself in the element."""
    at = datetime.now(UTC) - ago
    html = str(shown.instant(at))
    assert f">{said}<" in html
    assert f'datetime="{at:%Y-%m-%dT%H:%M:%SZ}"' in html


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "\N{EN DASH}"),
        (True, "yes"),
        (False, "no"),
        (25.0, "25"),
        (36232.0, "36,232"),
        (36232.5, "36,232.5"),
        (1234567.25, "1,234,567.2"),
        (1.2e-07, "1.2e\N{MINUS SIGN}07"),
        (-0.5, "\N{MINUS SIGN}0.5"),
        (0, "0"),
        (1e300, "1e+300"),
        ("as planned", "as planned"),
        (HARM, HARM),
        ([1, None], "[1, null]"),
        ({"a": 1}, '{"a": 1}'),
        ("x" * 300, "x" * 200 + "…"),
    ],
)
def test_figures_are_as_people_write_them(value: object, said: str):
    """Whole numbers whole, small ones not nothing, yes and no; never a dictionary of Python's."""
    assert said == shown.figure(value)


@pytest.mark.parametrize(
    ("name", "value", "said", "called"),
    [
        ("memory_bytes", 226390016, "216 MiB", "memory"),
        ("cpu_percent", 12.25, "12.2 %", "cpu"),
        ("latency_p95_ms", 12345.6, "12,346 ms", "latency p95"),
        ("uptime_seconds", 7265.4, "2 h 1 min", "uptime"),
        ("uptime_seconds", 1e300, "11,574 d 1 h", "uptime"),
        ("requests", 1200, "1,200", "requests"),
        ("_ms", 1, "1 ms", "_ms"),
    ],
)
def test_figures_of_a_server_have_their_unit(name: str, value: float, said: str, called: str):
    """Beside the value, and not in the name; a name that is nothing else stays."""
    assert (said, called) == (shown.figure(value, name).replace("\N{NARROW NO-BREAK SPACE}", " "), shown.named(name))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "less than a second"), (0.2, "less than a second"), (59, "59 s"), (61, "1 min 1 s"), (3_600, "1 h"),
     (3_659, "1 h"), (90_000, "1 d 1 h")],
)  # fmt: skip
def test_durations_have_two_units(seconds: float, said: str):
    """The largest one and the next."""
    assert said == shown.lasted(timedelta(seconds=seconds))


def test_one_is_no_plural():
    """1 bar, 2 bars."""
    assert ["0 bars", "1 bar", "2,000 bars"] == [shown.many(count, "bar") for count in (0, 1, 2_000)]


def test_texts_of_others_are_escaped_everywhere():
    """In badges, decisions and sentences with code."""
    for made in (shown.badge(HARM), shown.decision(HARM), shown.ticks(f"`{HARM}` {HARM}")):
        assert "<script>" not in made


@pytest.mark.parametrize(
    "chart",
    [
        charts.line([Point(HARM, 1.0, "buy"), Point("b", -1.0)], says=HARM),
        charts.line([Point("one", 5.0)], says="one point"),
        charts.line([Point("a", 1, low=0.5, high=2), Point("b", 2, low=1, high=3)], says="band"),
        charts.bars([Bar(HARM, 3.0, 2.0, 4.0), Bar("none", None), Bar("below", -2.0)], says="bars"),
        charts.bars([Bar("zero", 0.0)], says="all zero"),
        charts.bars([Bar("x", 1e9), Bar("y", 3.0)], says="far apart"),
        charts.reliability([(0.3, Bar("20 calls", 0.4, 0.2, 0.6)), (0.5, Bar("none", None))], says="calibration"),
        charts.spark([1.0, 1.0, 1.0], says="flat"),
    ],
)
def test_charts_are_sound_svg(chart: str):
    """Well-formed, with words, without inline style, every number finite."""
    root = ET.fromstring(chart)  # noqa: S314 - of our own making
    assert "img" == root.attrib["role"]
    assert root.attrib["aria-label"]
    assert "style=" not in chart
    assert "nan" not in chart
    assert "inf" not in chart


def test_charts_of_nothing_are_nothing():
    """No empty axes."""
    assert "" == charts.line([], says="x") == charts.bars([], says="x") == charts.spark([], says="x")


@pytest.mark.parametrize(("high", "last"), [(106, "125"), (1, "1"), (0.07, "0.08"), (12_345, "12.5k")])
def test_axes_end_at_round_numbers(high: float, last: str):
    """At most six of them."""
    ticks = re.findall(r'text-anchor="end">([^<]+)<', charts.bars([Bar("x", high)], says="x"))
    assert (last, True) == (ticks[-1], len(ticks) <= 6)


@pytest.mark.parametrize("path", ["/marketplace", "/consensus?symbol=EURUSD", "/marketplace/models/mod_1"])
def test_pages_of_the_console_are_safe_to_return_to(path: str):
    """As they are."""
    assert path == safe_path(path)


@pytest.mark.parametrize(
    "path", [None, "", "//x", "https://x/marketplace", "/marketplacex", "/marketplace/../api", "/\t/x"]
)
def test_other_places_are_not(path: str | None):
    """The catalogue instead."""
    assert "/marketplace" == safe_path(path)
