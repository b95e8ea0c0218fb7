from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mp_kit.client import html
from mp_kit.client.results import Rows, plain_table, size
from mp_kit.contracts import SigningKey

EVIL = "<script>alert('x')</script>"


def test_html_escapes_everything():
    """No text of others becomes markup, wherever it stands."""
    shown = html.table([{EVIL: EVIL}], title=EVIL) + html.card(EVIL, {EVIL: EVIL}) + html.log_lines([EVIL])
    shown += html.progress_bar(1, 2, EVIL)
    assert "<script" not in shown
    assert 8 == shown.count("&lt;script&gt;")


def test_html_sets_no_colour_of_its_own():
    """Readable in dark themes: text and lines take the theme's colour."""
    shown = html.table([{"a": 1}]) + html.card("t", {"a": 1}) + html.log_lines(["x"])
    assert "#" not in shown
    assert "color:inherit" in shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (0.1234567, "0.123457"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02 03:04:05Z"),
        (["a", 1], "a, 1"),
    ],
)
def test_text_of_values(value: object, expected: str):
    """As a person reads it."""
    assert expected == html.text(value)


@pytest.mark.parametrize(("done", "total", "shown"), [(1, 4, "25%"), (0, 0, "100%"), (9, 4, "100%")])
def test_progress_bar_share(done: int, total: int, shown: str):
    """Nothing to do is done; more than all is all."""
    assert shown in html.progress_bar(done, total)


def test_rows_behave_like_a_list():
    """Index, slice, length, frame; and they show themselves."""
    rows = Rows([SigningKey(key_id="a", public_key="x"), SigningKey(key_id="b", public_key="y")], "Keys", ("key_id",))
    assert ("a", 2, ["b"]) == (rows[0].key_id, len(rows), [key.key_id for key in rows[1:]])
    assert ["x", "y"] == list(rows.to_pandas()["public_key"])
    assert "key id\na\nb" == repr(rows)
    assert "<caption" in rows._repr_html_()


def test_rows_empty_say_so():
    """Not an empty box."""
    assert ("Keys: none", "<p>Keys: none</p>") == (repr(Rows([], "Keys", ("a",))), Rows([], "Keys", ())._repr_html_())


def test_plain_table_cuts_long_cells():
    """A table stays a table."""
    assert ["a", "x" * 59 + "…"] == plain_table([{"a": "x" * 99}], ["a"]).splitlines()


def test_size_in_words():
    """Small ones exactly."""
    assert ("1,000 bytes", "1.5 MiB") == (size(1000), size(3 * 512 * 1024))
