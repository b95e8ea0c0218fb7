"""Where an S3 store is and who asks it, from its URL and the environment.

``s3://`` takes AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for a server that is not Amazon's,
AWS_ENDPOINT_URL; AWS_SESSION_TOKEN goes with temporary keys. ``r2://`` takes CLOUDFLARE_R2_ACCESS_KEY,
CLOUDFLARE_R2_SECRET_KEY and CLOUDFLARE_R2_ACCOUNT_ID.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mp_kit.errors import InvalidInputError, SetupError
from mp_kit.server.storage.base import check_key

__all__ = ["Place", "place_of"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
_ACCOUNT = re.compile(r"[A-Za-z0-9\-]+")


@dataclass(frozen=True)
class Place:
    """A bucket, a prefix in it, and who asks.

    Args:
        bucket: The bucket.
        prefix: Before every key, without slashes at its ends; may be empty.
        region: The region; ``auto`` for R2.
        endpoint: The server's URL; None for Amazon's own.
        access_key: Names who asks.
        secret_key: Proves it.
        session_token: Goes with temporary keys.
    """

    bucket: str
    prefix: str
    region: str
    endpoint: str | None
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    @property
    def server(self) -> str:
        """The server's URL, Amazon's own in the region where no other is named."""
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"

    @property
    def virtual_hosted(self) -> bool:
        """Whether the bucket stands in the host's name: at Amazon, unless its dots would break TLS."""
        return self.endpoint is None and "." not in self.bucket

    def name(self, key: str) -> str:
        """A key's full name in the bucket; InvalidInputError for a bad key."""
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)

    def __str__(self) -> str:
        where = f" at {self.endpoint}" if self.endpoint else ""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + where


def place_of(url: str, env: Mapping[str, str]) -> Place:
    """Reads a store's place.

    Args:
        url: ``s3://bucket/prefix`` or ``r2://bucket/prefix``.
        env: Holds the keys.

    Raises:
        SetupError: The URL names no bucket, or a key is missing.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET.fullmatch(bucket) or (prefix and not _is_key(prefix)):
        raise SetupError("MP_STORE_URL names no bucket.", hint=f"Write {scheme}://bucket or {scheme}://bucket/prefix.")
    if scheme == "r2":
        account = _needed("CLOUDFLARE_R2_ACCOUNT_ID", env)
        if not _ACCOUNT.fullmatch(account):
            raise SetupError("CLOUDFLARE_R2_ACCOUNT_ID is no account id: letters and digits only.")
        keys = _needed("CLOUDFLARE_R2_ACCESS_KEY", env), _needed("CLOUDFLARE_R2_SECRET_KEY", env)
        return Place(bucket, prefix, "auto", f"https://{account}.r2.cloudflarestorage.com", *keys)
    keys = _needed("AWS_ACCESS_KEY_ID", env), _needed("AWS_SECRET_ACCESS_KEY", env)
    region = env.get("AWS_REGION") or "us-east-1"
    return Place(bucket, prefix, region, _endpoint(env), *keys, session_token=env.get("AWS_SESSION_TOKEN") or None)


def _endpoint(env: Mapping[str, str]) -> str | None:
    endpoint = (env.get("AWS_ENDPOINT_URL") or "").rstrip("/")
    if endpoint and (not endpoint.startswith(("http://", "https://")) or "@" in endpoint):
        raise SetupError("AWS_ENDPOINT_URL must be an http(s) URL without a user in it.")
    return endpoint or None


def _is_key(prefix: str) -> bool:
    try:
        return bool(check_key(prefix))
    except InvalidInputError:
        return False


def _needed(name: str, env: Mapping[str, str]) -> str:
    value = env.get(name)
    if not value:
        raise SetupError(f"{name} is missing: MP_STORE_URL needs it.", hint="Set it in the environment.")
    return value
