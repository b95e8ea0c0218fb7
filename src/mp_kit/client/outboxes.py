"""Which outbox is whose: one per marketplace and deployment, in a folder of the user's own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from mp_kit.client import config
from mp_kit.client.outbox import Outbox
from mp_kit.errors import ForbiddenError, SetupError

SUFFIX = ".sqlite"
_FOREIGN = re.compile(r"[^A-Za-z0-9_.\-]+")


class Outboxes:
    """The outboxes of one marketplace.

    Args:
        api_url: Its root.
        folder: Where they lie; None keeps them in memory.
    """

    def __init__(self, api_url: str, folder: Path | None) -> None:
        self._url = api_url.rstrip("/")
        self._folder = folder
        self._open: dict[str, Outbox] = {}

    def of(self, deployment: str) -> Outbox:
        """The outbox of a deployment."""
        if deployment not in self._open:
            about = {"api_url": self._url, "deployment": deployment}
            path = None if self._folder is None else self._folder / self._name(deployment)
            self._open[deployment] = Outbox(path, about)
        return self._open[deployment]

    def all(self) -> Mapping[str, Outbox]:
        """Every outbox of this marketplace, by deployment; one that cannot be read is told, not passed over."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder is not None else ():
            about = Outbox(path).about()
            if about.get("api_url") == self._url and "deployment" in about:
                self.of(about["deployment"])
        return dict(sorted(self._open.items()))

    def close(self) -> None:
        """Closes the files; what waits stays."""
        for box in self._open.values():
            box.close()

    def _name(self, deployment: str) -> str:
        host = urlsplit(self._url).netloc
        mark = hashlib.sha256(f"{self._url}\n{deployment}".encode()).hexdigest()[:12]
        return _FOREIGN.sub("-", f"{host}-{deployment}")[:80] + f"-{mark}{SUFFIX}"


def default_folder() -> Path:
    """``$XDG_STATE_HOME/mp/outbox``."""
    return config.state_dir() / "outbox"


def deployment_of(token: SecretStr | None, api_url: str) -> str:
    """Whose token it is: the deployment that the profile has it for, else the token's own public id.

    Raises:
        ForbiddenError: It is a vendor's key; signals go with a deployment's token.
        SetupError: There is no token at all.
    """
    if token is None:
        raise SetupError(
            "Signals need a deployment's token.",
            hint="Pass token=deployment, or run `mp link-infra` and then `mp signals push --deployment ID`.",
        )
    text = token.get_secret_value()
    if text.startswith("vk_"):
        raise ForbiddenError(
            "Signals are pushed with a deployment's token (sit_…), not with the vendor's key.",
            hint="Pass token=deployment; on the shell run `mp link-infra`, then name it with --deployment ID.",
        )
    profile = config.moved(config.load(), api_url)
    for deployment, stored in profile.deployments.items():
        if stored.get_secret_value() == text:
            return deployment
    kind, _, rest = text.partition("_")
    public = rest.partition("_")[0]
    if kind == "sit" and public:
        return f"sit_{public}"
    return f"token-{hashlib.sha256(text.encode()).hexdigest()[:12]}"  # the operator's, or an older kind
