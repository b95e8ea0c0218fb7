"""Clears a bucket of what nobody will finish: by rules that it keeps itself, and by looking through it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from mp_kit.errors import NotFoundError
from mp_kit.server.storage import lifecycle
from mp_kit.server.storage.access import Place
from mp_kit.server.storage.stale import BROKEN_LIFE, FOLDERS, STAGED, STAGED_LIFE, Rules, Stale

__all__ = ["S3Tidy"]

_UNKNOWN = {errno.EPERM, errno.EACCES, errno.ENOSYS}
"""How s3fs tells that a server knows no lifecycle rules, or does not let us at them."""


class S3Tidy:
    """Looks through a store's part of a bucket.

    Args:
        filesystem: Asks the server.
        place: The bucket, and the prefix in it.
        translated: Makes our errors of the server's.
    """

    def __init__(self, filesystem: Any, place: Place, translated: Callable[[], AbstractContextManager[None]]) -> None:
        self._fs = filesystem
        self._place = place
        self._translated = translated

    def ensure_lifecycle(self) -> Rules:
        """Gives the bucket rules that clear what nobody finishes, beside whatever rules it has.

        Returns:
            Also that these credentials may not do it: they may be right for everything else.

        Raises:
            SetupError: There is no such bucket.
            UnavailableError: The server does not answer.
        """
        bucket = self._place.bucket
        with self._translated():
            try:
                changed = self._ensure()
            except OSError as error:
                if not isinstance(error, PermissionError) and error.errno not in _UNKNOWN:
                    raise
                return Rules("refused", self._advice(error))
        if not changed:
            return Rules("kept", f"The bucket {bucket} has the rules already.")
        return Rules(
            "set",
            f"From now on the bucket {bucket} drops staged uploads after {STAGED_LIFE.days} days, and parts of uploads"
            f" that broke off after {BROKEN_LIFE.days}.",
        )

    def stale(self, now: datetime) -> Iterator[Stale]:
        """Staged uploads that were never taken in, and uploads in parts that broke off.

        Args:
            now: An aware instant.
        """
        for row in self.listed("list_objects_v2", "Contents", STAGED):
            if now - row["LastModified"] >= STAGED_LIFE:
                yield Stale("staged", self.key_of(row["Key"]), int(row["Size"]), row["LastModified"].astimezone(UTC))
        for folder in FOLDERS:
            for row in self.listed("list_multipart_uploads", "Uploads", folder):
                if now - row["Initiated"] >= BROKEN_LIFE:
                    since = row["Initiated"].astimezone(UTC)
                    yield Stale("parts", self.key_of(row["Key"]), None, since, row["UploadId"])

    def discard(self, found: Stale) -> None:
        """Removes an object, or the parts of an upload; they need not be there any more."""
        where = {"Key": self._place.name(found.key)}
        try:
            with self._translated():
                if found.upload_id is None:
                    self._ask("delete_object", **where)
                else:
                    self._ask("abort_multipart_upload", **where, UploadId=found.upload_id)
        except NotFoundError:
            return  # somebody else swept, or the bucket's own rule

    def _ensure(self) -> bool:
        found: Mapping[str, Any] = {}
        try:
            found = self._ask("get_bucket_lifecycle_configuration")
        except FileNotFoundError:
            self._ask("head_bucket")  # no rules, or no bucket
        rules = lifecycle.merged(found.get("Rules", []), lifecycle.wanted(self._place))
        if rules is None:
            return False
        self._set(rules, found)
        return True

    def _set(self, rules: Sequence[lifecycle.Rule], found: Mapping[str, Any]) -> None:
        # Left out, this would go back to the server's default, for everybody's rules.
        kept = {name: found[name] for name in ("TransitionDefaultMinimumObjectSize",) if name in found}
        self._ask("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": list(rules)}, **kept)

    def _advice(self, error: OSError) -> str:
        return (
            f"The bucket {self._place.bucket} takes no lifecycle rules by these credentials"
            f" ({type(error.__cause__ or error).__name__}): what broke off stays until `mp admin store sweep` runs."
            " Allow s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration, or have somebody set a rule for"
            f" {self._place.name(STAGED)}/ and one that aborts incomplete multipart uploads."
        )

    def _ask(self, verb: str, **what: Any) -> Any:
        return self._fs.call_s3(verb, Bucket=self._place.bucket, **what)

    def listed(self, verb: str, field: str, folder: str) -> Iterator[Mapping[str, Any]]:
        """Everything under a folder of ours, page by page."""
        names = ("ContinuationToken",) if field == "Contents" else ("KeyMarker", "UploadIdMarker")
        marks: dict[str, Any] = {}
        while True:
            with self._translated():
                page = self._ask(verb, Prefix=f"{self._place.name(folder)}/", **marks)
            yield from page.get(field, [])
            if not page.get("IsTruncated"):
                return
            marks = {name: page[f"Next{name}"] for name in names}

    def key_of(self, name: str) -> str:
        """The key of what has this name in the bucket."""
        return name.removeprefix(f"{self._place.prefix}/") if self._place.prefix else name
