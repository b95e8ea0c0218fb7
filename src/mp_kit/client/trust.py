"""Which keys may sign manifests: those that a marketplace offered when we first met it.

1. On first use the offered keys are pinned in the profile, by the marketplace's URL.
2. From then on only pinned keys count; another one is refused until a person accepts it.
3. A marketplace behind a test's transport is remembered in memory only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mp_kit.client import config
from mp_kit.contracts.rounds import SigningKey
from mp_kit.errors import IntegrityError, NotFoundError

Keys = Mapping[str, SigningKey]


class Trust:
    """The trusted keys of one marketplace.

    Args:
        api_url: Its root.
        in_profile: False to remember them in memory only.
    """

    def __init__(self, api_url: str, *, in_profile: bool = True) -> None:
        self._url = api_url.rstrip("/")
        self._in_profile = in_profile
        self._memory: dict[str, str] = {}

    def pinned(self) -> Keys:
        """The pinned keys by id; empty before the first use."""
        found = config.load().signing_keys.get(self._url, {}) if self._in_profile else self._memory
        return {name: SigningKey(key_id=name, public_key=public) for name, public in found.items()}

    def keys(self, offered: Keys, named: str) -> Keys:
        """The keys to verify with.

        Args:
            offered: What the marketplace offers now.
            named: The key that is said to have signed.

        Raises:
            IntegrityError: Others are pinned, and the named one isn't among them.
        """
        pinned = self.pinned()
        if not pinned:
            return offered
        if named not in pinned:
            raise IntegrityError(
                f"The manifest is signed by key {named or '(none)'}, but {self._url} is pinned to {', '.join(pinned)}.",
                hint="Ask the operator, over another channel, whether the signing key was changed. If it was:"
                f" `mp data trust {named}`.",
            )
        return pinned

    def meet(self, offered: Keys) -> None:
        """Pins the offered keys, if none are pinned; one of them has just verified a manifest.

        Raises:
            SetupError: The profile can't be written.
        """
        if not self.pinned():
            self._pin(offered)

    def accept(self, offered: Keys, key_id: str) -> None:
        """Pins another key beside those that are.

        Raises:
            NotFoundError: The marketplace does not offer it.
        """
        if key_id not in offered:
            raise NotFoundError(f"{self._url} offers no key {key_id!r}.", hint=f"It offers: {', '.join(offered)}.")
        self._pin({**self.pinned(), key_id: offered[key_id]})

    def _pin(self, keys: Keys) -> None:
        raw = {name: key.public_key for name, key in keys.items()}
        self._memory = raw
        if self._in_profile:
            config.change(lambda profile: replace(profile, signing_keys={**profile.signing_keys, self._url: raw}))
