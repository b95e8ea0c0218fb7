"""`mp admin model`: by name where it is unique, and whatever cannot be found is told for what it is."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from mp_kit.cli.app import main
from mp_kit.contracts import ModelRegistration, Task
from mp_kit.server.house import House
from mp_kit.server.services import models
from tests.support.gates import Candidate, candidate

Mp = Callable[..., tuple[int, str, str]]
WHY = ("--why", "looked at")


@pytest.fixture
def mp(house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mp:
    monkeypatch.setenv("MP_DATABASE_URL", house.settings.database_url)

    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["admin", "model", *args, "--home", str(house.settings.home)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def two(house: House) -> list[Candidate]:
    """Two vendors that both have a model `trend`; the first has another one, too."""
    with house.db.begin() as tx:
        found = [candidate(tx, house, name) for name in ("Named", "Namesake")]
        models.register(tx, found[0].vendor, ModelRegistration(name="only-here", task=Task.SIGNAL, version="0.1.0"))
    return found


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("nowhere", "0.1.0"), ("There is no model 'nowhere'", "mp admin model list")),
        (("only-here", "0.1.0", "--vendor", "Namesake"), ("no model 'only-here' of Namesake",)),
        (("only-here", "9"), ("There is no version '9' of model only-here", "It has: 0.1.0")),
    ],
)
def test_approve_what_is_not_there(mp: Mp, two: list[Candidate], args: tuple[str, ...], says: tuple[str, ...]):  # noqa: ARG001 - the fixture registers
    """Exit 4; the model or the version, whichever is missing, and what there is."""
    code, out, err = mp("approve", *args, *WHY)
    assert (4, "") == (code, out)
    assert [True] * len(says) == [said in err for said in says]


def test_approve_a_name_of_several(mp: Mp, two: list[Candidate]):
    """Exit 7 with the ids and whose they are; --vendor chooses."""
    code, _, err = mp("approve", "trend", "1", *WHY)
    assert 7 == code
    assert [True, True] == [
        f"{one.model} of {name}" in err for one, name in zip(two, ("Named", "Namesake"), strict=True)
    ]
    assert 0 == mp("approve", "trend", "1", *WHY, "--vendor", "Namesake")[0]
    assert 0 == mp("refuse", two[1].model, two[1].version, *WHY)[0]


def test_approve_by_a_name_of_one(mp: Mp, two: list[Candidate]):  # noqa: ARG001 - the fixture registers
    """As the vendor calls it."""
    assert (0, "0.1.0 of only-here is approved: looked at\n") == mp("approve", "only-here", "0.1.0", *WHY)[:2]


def test_list_names_vendor_version_and_gates(mp: Mp, two: list[Candidate]):
    """What the operator needs to approve: ids, and what is not met yet."""
    rows = json.loads(mp("list", "--vendor", "Namesake", "--json")[1])
    [row] = [row for row in rows if row["model_id"] == two[1].model]
    assert ("trend", "Namesake", "1", two[1].version) == tuple(
        row[name] for name in ("name", "vendor", "version", "version_id")
    )
    assert {"validated", "heartbeats", "scores"} <= set(row["not_met"])
    assert two[0].model in mp("list")[1]
