"""The operator's verbs in a sandbox: what its own processes would do, done when they are called."""

from __future__ import annotations

from pydantic import SecretStr

from mp_kit.client.marketplace import Marketplace
from mp_kit.rehearsal.process import Host
from mp_kit.rehearsal.tape import Tape
from mp_kit.rehearsal.voices import VERSION, connected

__all__ = ["Operator"]


class Operator:
    """The operator of a sandbox.

    Args:
        host: The marketplace's process.
        tape: The bars.

    Example:
        >>> box.operator.approve(model.model_id, "1", "three good months")
        >>> other = box.operator.vendor("somebody else")
    """

    def __init__(self, host: Host, tape: Tape) -> None:
        self._host, self._tape = host, tape
        self._keys: dict[str, SecretStr] = {}

    def __repr__(self) -> str:
        return f"Operator at {self._host.url}: vendor(name), approve(model_id), publish(), score(), blend(), maintain()"

    def vendor(self, name: str) -> Marketplace:
        """Makes a vendor; returns its connection, signed in."""
        self._keys[name] = SecretStr(self._host.ask("vendor", name=name)["api_key"])
        return connected(self._host.url, self._keys[name], lambda: self._host.now)

    def key_of(self, name: str) -> SecretStr:
        """The API key of a vendor that was made here."""
        return self._keys[name]

    def approve(self, model_id: str, version: str = VERSION, why: str = "rehearsed") -> None:
        """The operator's word on a version, which is a gate of prod."""
        self._host.ask("approve", model_id=model_id, version=version, why=why)

    def publish(self) -> str:
        """Publishes a round of the bars that have closed by now; the same bars again are the same round.

        Returns:
            The round's id.
        """
        now = self._host.now
        folder = f"bars/{now:%Y-%m-%dT%H%M}"
        if not (self._host.home / folder).exists():
            self._tape.write(self._host.home / folder, now)
        name = f"sandbox {now:%Y-%m-%d}"
        return str(self._host.ask("publish", source=folder, name=name)["round_id"])

    def score(self) -> None:
        """Scores everybody against the newest round."""
        self._host.ask("score")

    def blend(self) -> int:
        """Blends what was said since; returns how many bars."""
        return int(self._host.ask("blend")["bars"])

    def maintain(self) -> None:
        """Opens months of signals, and tells of deployments that fell silent."""
        self._host.ask("maintain")
