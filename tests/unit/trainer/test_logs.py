"""Log lines: on disk first, masked, numbered, stored once."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from mp_kit.errors import NetworkError, UnavailableError
from mp_kit.trainer.api import RunApi
from mp_kit.trainer.shipping import LogShipper
from mp_kit.trainer.spool import MAX_LINE, LogSpool, mask

SECRETS = {
    "known value": ("token is abcdef", "token is ***"),
    "vendor key": ("key vk_abc_1234567890", "key ***"),
    "jwt": ("got eyJhbGciOi.eyJzdWIi.sig-x", "got ***"),
    "s3 signature": ("https://s/x?X-Amz-Signature=aa11&b=2", "https://s/x?X-Amz-Signature=***&b=2"),
    "our signature": ('"/files/a?expires=1&signature=ff00"', '"/files/a?expires=1&signature=***"'),
    "nothing": ("loss 0.61 at step 3", "loss 0.61 at step 3"),
}


@pytest.mark.parametrize("case", SECRETS)
def test_mask(case: str):
    """Secrets become stars; the rest stays."""
    text, expected = SECRETS[case]
    assert expected == mask(text, ["abcdef"])


@pytest.fixture
def spool(tmp_path: Path) -> Any:
    made = LogSpool(tmp_path / "logs.jsonl")
    yield made
    made.close()


def ship_all(shipper: LogShipper) -> None:
    """Steps until all is stored, however often the marketplace fails on the way."""
    for _ in range(200):
        if shipper.is_done:
            return
        with contextlib.suppress(UnavailableError, NetworkError):
            shipper.step()
    pytest.fail("the log was never stored")


def test_long_lines_are_cut(spool: LogSpool):
    """An overlong line becomes several, an empty one stays one."""
    spool.write("stdout", "x" * (MAX_LINE + 1))
    spool.write("stderr", "")
    assert [len(line.text) for line in spool.read(0)] == [MAX_LINE, 1, 0]


def test_half_a_line_of_a_crash_is_cut_off(spool: LogSpool, tmp_path: Path):
    """A torn end of the file does not spoil what follows."""
    spool.write("stdout", "whole")
    with (tmp_path / "logs.jsonl").open("ab") as file:
        file.write(b'{"at": "2026')
    again = LogSpool(tmp_path / "logs.jsonl")
    again.write("stdout", "next")
    assert [line.text for line in again.read(0)] == ["whole", "next"]
    assert again.total == 2
    again.close()


@pytest.mark.parametrize("trouble", ["lost", "deaf"])
def test_each_line_is_stored_once(spool: LogSpool, api: RunApi, market: Any, tmp_path: Path, trouble: str):
    """Two of three calls fail, before or after they did their work."""
    calls = iter(range(10_000))
    market.trouble = lambda _: trouble if next(calls) % 3 else ""
    shipper = LogShipper(spool, api, tmp_path / "base")
    expected = [f"line {n}" for n in range(5_000)]
    for start in range(0, 5_000, 1_000):
        for text in expected[start : start + 1_000]:
            spool.write("stdout", text)
        ship_all(shipper)
    assert expected == market.lines


def test_second_container_counts_on(spool: LogSpool, api: RunApi, market: Any, tmp_path: Path):
    """A new folder begins at the number that the marketplace wants next."""
    market.lines = ["of the first container"]
    spool.write("stdout", "of the second")
    ship_all(LogShipper(spool, api, tmp_path / "base"))
    assert market.lines == ["of the first container", "of the second"]


def test_restarted_wrapper_sends_nothing_twice(spool: LogSpool, api: RunApi, market: Any, tmp_path: Path):
    """A shipper over the same folder finds out what is stored."""
    spool.write("stdout", "one")
    ship_all(LogShipper(spool, api, tmp_path / "base"))
    spool.write("stdout", "two")
    ship_all(LogShipper(spool, api, tmp_path / "base"))
    assert market.lines == ["one", "two"]


def test_marketplace_that_lost_lines_gets_them_again(spool: LogSpool, api: RunApi, market: Any, tmp_path: Path):
    """The answer decides: a server that was restored from an older state asks for the missing lines."""
    shipper = LogShipper(spool, api, tmp_path / "base")
    spool.write("stdout", "one")
    ship_all(shipper)
    market.lines.clear()
    spool.write("stdout", "two")
    ship_all(shipper)
    assert market.lines == ["one", "two"]


def test_no_answer_is_a_network_error(spool: LogSpool, api: RunApi, market: Any, tmp_path: Path):
    """The foreign exception is mapped."""
    market.trouble = lambda _: "lost"
    spool.write("stdout", "x")
    with pytest.raises(NetworkError):
        LogShipper(spool, api, tmp_path / "base").step()
