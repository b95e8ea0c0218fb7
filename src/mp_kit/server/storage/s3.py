"""Objects in a bucket of S3, or of anything that speaks its protocol (R2, radosgw).

1. s3fs does the I/O: large files go up in parts, several at once; copies never leave the server.
2. A content-addressed key that is there with the right size is not put again. What was put under one is read back, and
   goes again when its SHA-256 is another: not every server checks what it is told to check.
3. URLs are signed here by obstore in batches, with no request to the server.
4. What the server refuses becomes one of our errors in one place, :meth:`S3Store._translated`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import obstore
import s3fs
from botocore.exceptions import BotoCoreError
from obstore.store import S3Store as Signer

from mp_kit.errors import IntegrityError, InvalidInputError, NotFoundError, SetupError, UnavailableError
from mp_kit.server.storage.access import Place
from mp_kit.server.storage.base import Method, ObjectInfo, PartsPlan, UploadBound, content_of, digest_of
from mp_kit.server.storage.s3_parts import S3Parts
from mp_kit.server.storage.s3_tidy import S3Tidy
from mp_kit.server.storage.stale import FOLDERS

if TYPE_CHECKING:  # obstore has it for type checkers only
    from obstore.store import S3Credential

__all__ = ["LONGEST_SECONDS", "PART_BYTES", "S3Store"]

PART_BYTES = 16 << 20
"""A file of two parts or more goes up in parts; 10,000 of them, S3's limit, make 156 GiB."""

LONGEST_SECONDS = 7 * 86_400
"""The longest life of a URL that S3 allows."""

_ATTEMPTS = 3
_CONNECT_SECONDS = 10
_READ_BLOCK = 8 << 20


class S3Store:
    """Objects in a bucket.

    Args:
        place: The bucket, and who asks.
        part_bytes: Size of a part of a large file; S3 takes no part below 5 MiB.
    """

    binds_uploads = False

    def __init__(self, place: Place, *, part_bytes: int = PART_BYTES) -> None:
        self._place = place
        self._part_bytes = part_bytes
        self._fs = _filesystem(place)
        self._signer = _signer(place)

    def __repr__(self) -> str:
        return f"S3Store({str(self._place)!r})"

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """Stores a local file's bytes, large ones in parts.

        Raises:
            IntegrityError: They are not what a content-addressed key promises, here or there.
        """
        with path.open("rb") as file:
            self._check_promise(key, digest_of(file) if content_of(key) else None)
        name, part = self._path(key), self._part_bytes
        return self._put(key, path.stat().st_size, lambda: self._fs.put_file(str(path), name, chunksize=part))

    def put_bytes(self, key: str, payload: bytes) -> ObjectInfo:
        """Stores bytes.

        Raises:
            IntegrityError: They are not what a content-addressed key promises, here or there.
        """
        self._check_promise(key, hashlib.sha256(payload).hexdigest())
        return self._put(key, len(payload), lambda: self._fs.pipe_file(self._path(key), payload))

    def stat(self, key: str) -> ObjectInfo:
        """Facts of an object.

        Raises:
            NotFoundError: There is no such object.
        """
        with self._translated():
            head = self._fs.call_s3("head_object", Bucket=self._place.bucket, Key=self._place.name(key))
        return ObjectInfo(key, int(head["ContentLength"]), str(head["ETag"]), head["LastModified"].astimezone(UTC))

    def open(self, key: str) -> BinaryIO:
        """Opens an object for reading, 8 MiB at a time.

        Raises:
            NotFoundError: There is no such object.
        """
        self.stat(key)
        with self._translated():
            return cast("BinaryIO", self._fs.open(self._path(key), "rb", block_size=_READ_BLOCK))

    def digest(self, key: str) -> str:
        """The SHA-256 of an object's bytes, read for it.

        Raises:
            NotFoundError: There is no such object.
        """
        with self.open(key) as file, self._translated():
            return digest_of(file)

    def copy(self, source: str, target: str) -> ObjectInfo:
        """Copies an object within the server.

        Raises:
            NotFoundError: There is no such source.
        """
        self.stat(source)
        with self._translated():
            self._fs.cp_file(self._path(source), self._path(target))
        return self.stat(target)

    def delete(self, key: str) -> None:
        """Removes an object; it need not exist."""
        with self._translated():
            self._fs.call_s3("delete_object", Bucket=self._place.bucket, Key=self._place.name(key))

    def presign(self, method: Method, key: str, expires_at: datetime, bound: UploadBound | None = None) -> str:  # noqa: ARG002 - S3 cannot bind it, see binds_uploads
        """A URL at the server that ends at ``expires_at``; who takes an upload checks it against its bound.

        Raises:
            InvalidInputError: It would be over already, or live longer than seven days.
        """
        return self.presign_many(method, [key], expires_at)[0]

    def presign_many(self, method: Method, keys: Sequence[str], expires_at: datetime) -> list[str]:
        """A URL per key, in their order; 100,000 take under a second.

        Raises:
            InvalidInputError: They would be over already, or live longer than seven days.
        """
        left = int((expires_at - datetime.now(UTC)).total_seconds() + 0.999)  # S3 counts whole seconds from a whole one
        if not 0 < left <= LONGEST_SECONDS:
            raise InvalidInputError("A signed URL lives from a second to seven days.")
        names = [self._place.name(key) for key in keys]
        return list(obstore.sign(self._signer, method, names, timedelta(seconds=left))) if names else []

    def plan_parts(self, key: str, size_bytes: int, expires_at: datetime) -> PartsPlan:
        """What is missing of an upload in parts; the object is there once nothing is.

        Raises:
            InvalidInputError: The key is bad.
        """
        parts = S3Parts(self._fs, self._place.bucket, self._place.name(key), self._part_bytes)
        with self._translated():
            return parts.plan(size_bytes, expires_at)

    def walk(self) -> Iterator[ObjectInfo]:
        """Every object under the store's prefix and folders, page by page."""
        for folder in FOLDERS:
            for row in self.tidy.listed("list_objects_v2", "Contents", folder):
                at = row["LastModified"].astimezone(UTC)
                yield ObjectInfo(self.tidy.key_of(row["Key"]), int(row["Size"]), str(row["ETag"]), at)

    @property
    def tidy(self) -> S3Tidy:
        """Clears what nobody will finish."""
        return S3Tidy(self._fs, self._place, self._translated)

    def _check_promise(self, key: str, digest: str | None) -> None:
        promised = content_of(key)
        if promised is not None and promised != digest:
            raise IntegrityError(f"The bytes for {key} have the SHA-256 {digest}; nothing was stored.")

    def _put(self, key: str, size: int, send: Callable[[], object]) -> ObjectInfo:
        promised = content_of(key)
        if promised is not None and (found := self._find(key)) and found.size_bytes == size:
            return found
        with self._translated():
            send()
        if promised is not None:
            self._verify(key, promised)
        return self.stat(key)

    def _verify(self, key: str, promised: str) -> None:
        if self.digest(key) != promised:
            self.delete(key)
            raise IntegrityError(f"{self._place} took other bytes for {key} than were sent; they were removed.")

    def _find(self, key: str) -> ObjectInfo | None:
        try:
            return self.stat(key)
        except NotFoundError:
            return None

    def _path(self, key: str) -> str:
        return f"{self._place.bucket}/{self._place.name(key)}"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            self._demand_bucket(error)
            raise NotFoundError("There is no such file.") from error
        except PermissionError as error:
            raise self._refused() from error
        except (OSError, BotoCoreError) as error:
            raise UnavailableError(f"The store {self._place} did not answer as it should ({_cause(error)}).") from error

    def _demand_bucket(self, cause: Exception) -> None:
        try:
            self._fs.call_s3("head_bucket", Bucket=self._place.bucket)
        except FileNotFoundError:
            raise SetupError(
                f"There is no bucket {self._place.bucket} ({self._place}).",
                hint="Make the bucket, or mend MP_STORE_URL, the endpoint or the region.",
            ) from cause
        except PermissionError:
            raise self._refused() from cause
        except (OSError, BotoCoreError) as error:
            raise UnavailableError(f"The store {self._place} did not answer as it should ({_cause(error)}).") from error

    def _refused(self) -> SetupError:
        return SetupError(
            f"The store {self._place} refuses its credentials, or they may not do this.",
            hint="Check the access and secret key, their rights on the bucket (get, put, delete, list), and the clock.",
        )


def _cause(error: Exception) -> str:
    return type(error.__cause__ or error).__name__


def _filesystem(place: Place) -> Any:
    filesystem = s3fs.S3FileSystem(
        key=place.access_key,
        secret=place.secret_key,
        token=place.session_token,
        endpoint_url=place.server,
        client_kwargs={"region_name": place.region},
        config_kwargs={
            "connect_timeout": _CONNECT_SECONDS,
            "signature_version": "s3v4",  # else URLs of parts would be signed in the way of 2006
            "retries": {"max_attempts": 1},  # s3fs tries again itself
            # The newer checksum trailers are unknown to servers that are otherwise fine; rule 2 checks more.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        },
        default_fill_cache=False,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    filesystem.retries = _ATTEMPTS
    return filesystem


def _signer(place: Place) -> Signer:
    """Raises SetupError where the environment leads obstore elsewhere: it heeds more AWS variables than are wanted."""
    host_has_bucket = place.virtual_hosted
    scheme, _, host = place.server.partition("://")
    signer = Signer(
        place.bucket,
        region=place.region,
        endpoint=f"{scheme}://{place.bucket}.{host}" if host_has_bucket else place.server,
        virtual_hosted_style_request=host_has_bucket,
        # A provider, because obstore would add AWS_SESSION_TOKEN of the environment to plain keys.
        credential_provider=lambda: _credential(place),
        client_options={"allow_http": scheme == "http"},
    )
    probe = obstore.sign(signer, "GET", "probe", timedelta(seconds=1))
    start = f"{scheme}://{place.bucket}.{host}/probe?" if host_has_bucket else f"{place.server}/{place.bucket}/probe?"
    if not probe.startswith(start):
        raise SetupError("Another AWS_* variable overrides the store's endpoint.", hint="Unset AWS_ENDPOINT_URL_S3.")
    return signer


def _credential(place: Place) -> S3Credential:
    return {
        "access_key_id": place.access_key,
        "secret_access_key": place.secret_key,
        "token": place.session_token,
        "expires_at": None,
    }
