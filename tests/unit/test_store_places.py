"""Where an S3 or R2 store is, from its URL and the environment; no server is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from mp_kit.errors import InvalidInputError, SetupError
from mp_kit.server.storage import open_store, place_of

AWS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "aws-secret", "AWS_REGION": "eu-west-1"}
R2 = {
    "CLOUDFLARE_R2_ACCESS_KEY": "RKID",
    "CLOUDFLARE_R2_SECRET_KEY": "r2-secret",
    "CLOUDFLARE_R2_ACCOUNT_ID": "0123abcd",
}
BOTH = AWS | R2


def soon() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=15)


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://B_AD/x", "s3://bucket/../x", "r2://bucket/a//b", "s3://ab"])
def test_url_without_a_bucket_is_refused(url: str):
    """A wrong bucket or prefix is a matter of set-up, told before anything is sent."""
    with pytest.raises(SetupError, match="MP_STORE_URL"):
        place_of(url, BOTH)


@pytest.mark.parametrize(("scheme", "name"), [("s3", name) for name in list(AWS)[:2]] + [("r2", name) for name in R2])
def test_missing_key_is_named(scheme: str, name: str):
    """Each is named, none is shown."""
    with pytest.raises(SetupError, match=name) as caught:
        open_store(f"{scheme}://bucket", base_url="", url_key="k", env={**BOTH, name: ""})
    assert "secret" not in str(caught.value).lower().replace(name.lower(), "")


@pytest.mark.parametrize("endpoint", ["ftp://x", "127.0.0.1:9000", "https://user:secret@host"])
def test_bad_endpoint_is_refused(endpoint: str):
    """It is no http(s) URL, or would put a secret into messages."""
    with pytest.raises(SetupError, match="AWS_ENDPOINT_URL"):
        place_of("s3://bucket", AWS | {"AWS_ENDPOINT_URL": endpoint})


@pytest.mark.parametrize(
    ("url", "env", "start", "scope"),
    [
        ("s3://bucket/a/b", AWS, "https://bucket.s3.eu-west-1.amazonaws.com/a/b/x?", "AKID eu-west-1"),
        ("s3://b.cket", AWS, "https://s3.eu-west-1.amazonaws.com/b.cket/x?", "AKID eu-west-1"),
        ("s3://bucket", AWS | {"AWS_ENDPOINT_URL": "http://h:1/"}, "http://h:1/bucket/x?", "AKID eu-west-1"),
        ("r2://bucket/p/", BOTH, "https://0123abcd.r2.cloudflarestorage.com/bucket/p/x?", "RKID auto"),
    ],
)
def test_urls_point_at_the_right_place(url: str, env: dict[str, str], start: str, scope: str):
    """Host, bucket, prefix, key and scope are the store's; the end is the one asked for."""
    [signed] = open_store(url, base_url="", url_key="k", env=env).presign_many("GET", ["x"], soon())
    assert signed.startswith(start)
    query = parse_qs(urlsplit(signed).query)
    key, _, region, *_ = query["X-Amz-Credential"][0].split("/")
    assert scope == f"{key} {region}"
    assert 898 <= int(query["X-Amz-Expires"][0]) <= 900


def test_environment_never_leads_a_store_elsewhere(monkeypatch: pytest.MonkeyPatch):
    """A session token of the environment goes to no other store, and an endpoint that overrides ours is refused."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "leak")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://wrong.example")
    store = open_store("r2://bucket", base_url="", url_key="k", env=BOTH)
    signed = store.presign("GET", "x", soon())
    assert ("leak" not in signed, True) == (True, signed.startswith("https://0123abcd.r2."))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://wrong.example")
    with pytest.raises(SetupError, match="overrides"):
        open_store("r2://bucket", base_url="", url_key="k", env=BOTH)


def test_session_token_of_the_settings_is_signed():
    """Temporary keys work."""
    store = open_store("s3://bucket", base_url="", url_key="k", env=AWS | {"AWS_SESSION_TOKEN": "tok"})
    assert "X-Amz-Security-Token=tok" in store.presign("GET", "x", soon())


@pytest.mark.parametrize("seconds", [-1, 7 * 86_400 + 60])
def test_life_that_s3_refuses_is_refused_here(seconds: int):
    """Over already, or longer than seven days."""
    store = open_store("s3://bucket", base_url="", url_key="k", env=AWS)
    with pytest.raises(InvalidInputError, match="seven days"):
        store.presign("GET", "x", datetime.now(UTC) + timedelta(seconds=seconds))


def test_no_secret_in_a_repr():
    """Neither the store nor its place shows a key."""
    store = open_store("r2://bucket/x", base_url="", url_key="k", env=BOTH)
    shown = f"{store!r} {store} {place_of('s3://bucket/x', BOTH)!r} {store.__dict__}"
    assert [] == [secret for secret in ("aws-secret", "r2-secret", "AKID", "RKID") if secret in shown]
