from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mp_kit.client import html
from mp_kit.client.results import Rows, plain_table, size
from mp_kit.contracts import SigningKey
from mp_kit.errors import InvalidInputError

EVIL = "<script>alert('x')</script>"


def test_html_escapes_everything():
    """No text of others becomes markup, wherever it stands."""
    shown = html.table([{EVIL: EVIL}], title=EVIL) + html.card(EVIL, {EVIL: EVIL}) + html.log_lines([EVIL])
    shown += html.progress_bar(1, 2, EVIL)
    shown += html.table([{EVIL: EVIL}] * 2, sorts=True).replace(html.SORTER, "")
    assert "<script" not in shown
    assert 11 == shown.count("&lt;script&gt;")


def test_html_shows_of_a_hash_its_beginning():
    """The whole of it is at hand, and the other columns have room; a name of that length stays."""
    shown = html.table([{"sha256": "ab" * 32, "name": "x" * 64}])
    assert f'<span title="{"ab" * 32}">{"ab" * 8}…</span>' in shown
    assert "x" * 64 in shown


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


def keys(*names: str) -> Rows[SigningKey]:
    """A table of keys."""
    return Rows([SigningKey(key_id=name, public_key="x" * at) for at, name in enumerate(names)], "Keys", ("key_id",))


def test_rows_sort_by_shown_and_other_fields():
    """By value, either way; the table stays one."""
    rows = keys("b", "c", "a")
    assert ["a", "b", "c"] == [key.key_id for key in rows.sort("key_id")]
    assert ["a", "c", "b"] == [key.key_id for key in rows.sort("public_key", reverse=True)]
    assert repr(keys("a", "b", "c")) == repr(rows.sort("key_id"))


def test_rows_sort_puts_what_is_absent_last():
    """Either way: nobody looks for what is not there."""
    rows = Rows([{"n": None}, {"n": 2.5}, {"n": 10}], "Numbers", ("n",))
    assert [2.5, 10, None] == [row["n"] for row in rows.sort("n")]
    assert [10, 2.5, None] == [row["n"] for row in rows.sort("n", reverse=True)]


def test_rows_sort_by_no_column():
    """The error says which there are."""
    with pytest.raises(InvalidInputError, match="'x' is no column") as caught:
        keys("a").sort("x")
    assert "key_id" in caught.value.hint


def test_long_rows_show_their_head_and_say_so():
    """A notebook does not drown; text() has all of them."""
    rows = keys(*(f"k{number}" for number in range(250)))
    assert (62, "190 more rows: .text(), .to_pandas()") == (len(repr(rows).splitlines()), repr(rows).splitlines()[-1])
    assert 251 == len(rows.text().splitlines())
    assert (101, True) == (rows._repr_html_().count("<tr>"), "150 more rows" in rows._repr_html_())


def test_contracts_complete_without_pydantics_names():
    """What TAB offers is the thing's own."""
    offered = [name for name in dir(keys("a")[0]) if not name.startswith("_")]
    assert ["algorithm", "key_id", "model_copy", "model_dump", "model_dump_json", "public_key"] == offered
