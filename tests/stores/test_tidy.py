"""What nobody will finish, in every store; rules of a bucket, against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mp_kit.errors import NotFoundError, SetupError
from mp_kit.server.services.sweeping import sweep_staged
from mp_kit.server.storage import STAGED, LocalStore, place_of
from mp_kit.server.storage.s3 import S3Store
from mp_kit.server.storage.stale import BROKEN_LIFE, STAGED_LIFE

SECOND = timedelta(seconds=1)
FOREIGN = [
    {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}},
    {"ID": "tagged", "Status": "Disabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 9}},
]
KILLED = """
import os, signal, sys
from pathlib import Path
from mp_kit.server.storage import LocalStore, UploadBound
store = LocalStore(Path(sys.argv[1]), base_url="http://127.0.0.1", url_key="k" * 20)
with store.receive("runs/r/model.onnx", UploadBound(9, "0" * 64)) as upload:
    upload.write(b"1234")
    upload._file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def bucket(s3_shelf: Any) -> Any:
    """Asks the server about the store's bucket; whatever rules and policy it has go afterwards."""
    store = s3_shelf.store

    def ask(verb: str, **what: Any) -> Any:
        return store._fs.call_s3(verb, Bucket=store._place.bucket, **what)

    yield ask
    ask("delete_bucket_policy")
    ask("delete_bucket_lifecycle")


def found(store: Any, now: datetime, **how: Any) -> list[tuple[str, str]]:
    """What a sweep finds."""
    return [(one.kind, one.key) for one in sweep_staged(store, now, **how).found]


def test_staged_upload_goes_when_its_time_is_over(shelf: Any):
    """Not a second before, not in a dry run, and nothing beside it."""
    staged, taken_in = f"{STAGED}/runs/r/model.onnx", "runs/r/model.onnx"
    for key in (taken_in, "objects/x", "stagedx/y", staged):
        put = shelf.store.put_bytes(key, b"1234")
    over = put.modified_at + STAGED_LIFE
    assert [] == found(shelf.store, over - SECOND)
    assert [("staged", staged)] == found(shelf.store, over + SECOND, dry_run=True)
    assert b"1234" == shelf.read(staged)
    swept = sweep_staged(shelf.store, over + SECOND)
    assert (4, [staged]) == (swept.size_bytes, [one.key for one in swept.found])
    with pytest.raises(NotFoundError):
        shelf.store.stat(staged)
    assert [b"1234"] * 3 == [shelf.read(key) for key in (taken_in, "objects/x", "stagedx/y")]
    assert [] == found(shelf.store, over + SECOND)
    shelf.store.tidy.discard(swept.found[0])


def test_killed_put_leaves_a_temporary_that_a_sweep_removes(tmp_path: Path):
    """A real kill -9 in the middle of an upload; the object never appears."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert -signal.SIGKILL == done.returncode
    store = LocalStore(tmp_path, base_url="http://127.0.0.1", url_key="k" * 20)
    [left] = (tmp_path / "runs" / "r").iterdir()
    os.utime(left, (0, 0))  # its modification may be its source's, years ago
    now = datetime.now(UTC)
    assert [] == found(store, now + BROKEN_LIFE - timedelta(minutes=1))
    assert [("temporary", f"runs/r/{left.name}")] == found(store, now + BROKEN_LIFE + SECOND)
    assert [] == list((tmp_path / "runs" / "r").iterdir())


def test_sweep_of_a_store_that_is_not_there_yet(tmp_path: Path):
    """Nothing, and no error."""
    store = LocalStore(tmp_path / "none", base_url="http://127.0.0.1", url_key="k" * 20)
    assert [] == found(store, datetime.now(UTC))
    assert "none" == store.tidy.ensure_lifecycle().state


def test_upload_in_parts_that_broke_off_is_aborted(s3_shelf: Any, bucket: Any):
    """Another prefix's stays: it is another marketplace's."""
    names = [s3_shelf.store._place.name("objects/large"), "elsewhere/objects/large"]
    begun = [bucket("create_multipart_upload", Key=name) for name in names]
    later = datetime.now(UTC) + BROKEN_LIFE
    assert [] == found(s3_shelf.store, later - timedelta(minutes=1))
    swept = sweep_staged(s3_shelf.store, later + timedelta(minutes=1))
    assert [("parts", "objects/large", None)] == [(one.kind, one.key, one.size_bytes) for one in swept.found]
    left = {upload["Key"] for upload in bucket("list_multipart_uploads")["Uploads"]}
    assert (False, True) == (names[0] in left, names[1] in left)
    s3_shelf.store.tidy.discard(swept.found[0])
    bucket("abort_multipart_upload", Key=names[1], UploadId=begun[1]["UploadId"])


def test_many_staged_uploads_are_found_page_by_page(s3_shelf: Any, monkeypatch: pytest.MonkeyPatch):
    """Three pages of two."""
    keys = [f"{STAGED}/runs/many/{number}" for number in range(5)]
    for key in keys:
        s3_shelf.store.put_bytes(key, b"x")
    ask = s3_shelf.store._fs.call_s3
    calls: list[str] = []

    def paged(verb: str, **what: Any) -> Any:
        calls.append(verb)
        return ask(verb, **what, **({"MaxKeys": 2} if verb == "list_objects_v2" else {}))

    monkeypatch.setattr(s3_shelf.store._fs, "call_s3", paged)
    later = datetime.now(UTC) + STAGED_LIFE + timedelta(minutes=1)
    assert [("staged", key) for key in keys] == found(s3_shelf.store, later)
    assert 3 == calls.count("list_objects_v2")


def test_rules_are_set_once_beside_those_of_others(s3_shelf: Any, bucket: Any):
    """Set, then kept; set again when somebody changed them; theirs are as they were."""
    bucket("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": FOREIGN})
    tidy = s3_shelf.store.tidy
    assert ["set", "kept"] == [tidy.ensure_lifecycle().state for _ in range(2)]
    there = {rule["ID"]: rule for rule in bucket("get_bucket_lifecycle_configuration")["Rules"]}
    assert FOREIGN == [there[rule["ID"]] for rule in FOREIGN]
    staged = there[f"mp-kit: {s3_shelf.store._place.name(STAGED)}/"]
    assert ("Enabled", {"Days": 30}) == (staged["Status"], staged["Expiration"])
    assert 6 == len(there)
    changed = [{**rule, "Status": "Disabled"} for rule in there.values()]
    bucket("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": changed})
    assert ["set", "kept"] == [tidy.ensure_lifecycle().state for _ in range(2)]


def test_rules_of_a_bucket_without_any(s3_shelf: Any, bucket: Any):
    """The first ones."""
    assert "set" == s3_shelf.store.tidy.ensure_lifecycle().state
    assert 4 == len(bucket("get_bucket_lifecycle_configuration")["Rules"])


@pytest.mark.parametrize("action", ["s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"])
def test_credentials_that_may_not_set_rules_are_told_so(s3_shelf: Any, bucket: Any, action: str):
    """No error: they may do all else. The words say what to allow and what to do instead."""
    name = s3_shelf.store._place.bucket
    denied = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{name}"}
    bucket("put_bucket_policy", Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))
    rules = s3_shelf.store.tidy.ensure_lifecycle()
    assert "refused" == rules.state
    assert "mp admin store sweep" in rules.detail
    assert "s3:PutLifecycleConfiguration" in rules.detail


def test_rules_of_a_bucket_that_is_not_there(gateway: Any):
    """A mistake in the settings, not a bucket without rules."""
    store = S3Store(place_of("s3://no-such-bucket/x", gateway.env))
    with pytest.raises(SetupError, match="no bucket"):
        store.tidy.ensure_lifecycle()
