"""A marketplace whose objects lie in a bucket, backed up into a bucket, and back."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mp_kit.errors import IntegrityError, NotFoundError
from mp_kit.server import restoring
from mp_kit.server.services import backup
from mp_kit.server.services.backup_places import open_place
from mp_kit.server.wiring import build
from tests.stores.conftest import BUCKET
from tests.support.furnished import MODEL, furnish


def quiet(_: str) -> None:
    """Says nothing."""


@pytest.mark.hardening
def test_bucket_to_bucket_and_back(
    s3_shelf: Any, migrated_url: Callable[[], str], create_database: Callable[[], str], tmp_path: Path
):
    """Copies go through; a damaged one is named; what has no marker is no backup."""
    settings = replace(s3_shelf.house.settings, database_url=migrated_url())
    house = build(settings)
    ids = furnish(house, tmp_path / "bars")
    where = f"s3://{BUCKET}/backups-{uuid.uuid4().hex[:8]}"
    order = backup.Order(where, settings.database_url, settings.store_env, True, datetime.now(UTC), "test")  # noqa: FBT003 - copies
    made = backup.make(house.db, house.store, house.signer, order, quiet)
    assert () == tuple(made.problems)
    store_url = f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"
    target = build(replace(settings, database_url=create_database(), store_url=store_url))
    checks = restoring.restore(target, f"{where}/{made.name}", force=False, actor="test", say=quiet)
    assert [] == [problem for check in checks for problem in check.problems]
    with target.store.open(ids.artifact) as file:
        assert MODEL == file.read()
    with pytest.raises(NotFoundError, match="no whole backup"), open_place(where, settings.store_env):
        pass
    with open_place(f"{where}/{made.name}", settings.store_env) as place:
        place.put("objects.jsonl", b"{}\n")
        with pytest.raises(IntegrityError, match=r"objects\.jsonl was damaged"):
            backup.read(place, house.signer.public)
    target.close()
    house.close()
