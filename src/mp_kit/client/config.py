"""Where the marketplace is and who we are: environment, then the profile file.

1. ``MP_API_URL`` (or the older ``INFRA_API_URL``) and ``MP_TOKEN`` win over the file.
2. A stored key goes only to the URL that it was stored with: another URL from the environment gets no key.
3. The file is ``$XDG_CONFIG_HOME/mp/config.json``, mode 0600 in a folder of mode 0700, replaced atomically; an older
   ``~/.mp/config.json`` is read when it is absent.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mp_kit.errors import SetupError

URL_VARIABLES = ("MP_API_URL", "INFRA_API_URL")
TOKEN_VARIABLE = "MP_TOKEN"  # noqa: S105 - the name of a variable, no token
_URL_NAMES = ("api_url", "apiUrl", "apiURL")
_KEY_NAMES = ("api_key", "apiKey", "token")


@dataclass(frozen=True)
class Profile:
    """What the file holds.

    Args:
        api_url: Root of the marketplace.
        api_key: The vendor's key.
        deployments: Deployment tokens by deployment id.
        path: The file it came from.
        signing_keys: Pinned public keys, Base64 by key id, by the marketplace's URL.
    """

    api_url: str | None = None
    api_key: SecretStr | None = None
    deployments: Mapping[str, SecretStr] = field(default_factory=dict)
    path: Path | None = None
    signing_keys: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Connection:
    """Where to connect and with what.

    Args:
        api_url: Root of the marketplace.
        token: The token, if there is one.
        url_from: Where the URL was found, in words.
        token_from: Where the token was found, in words.
    """

    api_url: str
    token: SecretStr | None
    url_from: str
    token_from: str


def config_dir(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of the profile: ``$XDG_CONFIG_HOME/mp``."""
    return _base(env, "XDG_CONFIG_HOME", ".config") / "mp"


def cache_dir(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of what can be fetched again: ``$XDG_CACHE_HOME/mp``."""
    return _base(env, "XDG_CACHE_HOME", ".cache") / "mp"


def state_dir(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of what must not be lost and is no setting (the outboxes): ``$XDG_STATE_HOME/mp``."""
    return _base(env, "XDG_STATE_HOME", ".local/state") / "mp"


def _base(env: Mapping[str, str], variable: str, fallback: str) -> Path:
    chosen = env.get(variable, "")
    return Path(chosen) if chosen.startswith("/") else _home(env) / fallback


def _home(env: Mapping[str, str]) -> Path:
    return Path(env["HOME"]) if env.get("HOME") else Path.home()


def load(env: Mapping[str, str] = os.environ) -> Profile:
    """Reads the profile; an empty one when there is no file.

    Raises:
        SetupError: A file is there and can't be read.
    """
    for path in (config_dir(env) / "config.json", _home(env) / ".mp" / "config.json"):
        try:
            found = path.is_file()
        except OSError as error:
            raise SetupError(f"The profile {path} cannot be reached: {error.strerror}.") from error
        if found:
            return _parse(path)
    return Profile()


def _parse(path: Path) -> Profile:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupError(
            f"The profile {path} cannot be read: {type(error).__name__}.", hint="Mend or delete it, then `mp login`."
        ) from error
    if not isinstance(document, dict):
        raise SetupError(f"The profile {path} is no JSON object.", hint="Delete it, then `mp login`.")
    tokens = document.get("deployments")
    key = _first(document, _KEY_NAMES)
    return Profile(
        api_url=_first(document, _URL_NAMES),
        api_key=SecretStr(key) if key else None,
        deployments={str(k): SecretStr(str(v)) for k, v in tokens.items()} if isinstance(tokens, dict) else {},
        path=path,
        signing_keys=_signing_keys(document.get("signing_keys"), path),
    )


def _signing_keys(found: object, path: Path) -> dict[str, dict[str, str]]:
    """Reads the pinned keys; what is damaged is told, for forgetting a key would let another one in."""
    if found is None:
        return {}
    if isinstance(found, dict) and all(isinstance(keys, dict) for keys in found.values()):
        return {str(url): {str(k): str(v) for k, v in keys.items()} for url, keys in found.items()}
    raise SetupError(f"The pinned keys in {path} cannot be read.", hint="Mend signing_keys, or delete it to pin anew.")


def _first(document: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((str(document[name]) for name in names if document.get(name)), None)


def change(alter: Callable[[Profile], Profile], env: Mapping[str, str] = os.environ) -> Path:
    """Changes the profile as it is at that moment: of several programs at once each waits for the one before it.

    Args:
        alter: Makes the new one of the present one.
        env: Where the profile is.

    Returns:
        The file's path.

    Raises:
        SetupError: The profile cannot be read, or the folder not be written.
    """
    folder = config_dir(env)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SetupError(f"The profile's folder {folder} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return save(alter(load(env)), env)
    finally:
        os.close(lock)


def save(profile: Profile, env: Mapping[str, str] = os.environ) -> Path:
    """Writes the profile atomically, readable by its owner only.

    Returns:
        The file's path.

    Raises:
        SetupError: The folder can't be written.
    """
    target = config_dir(env) / "config.json"
    document = {
        "version": 1,
        "api_url": profile.api_url,
        "api_key": profile.api_key.get_secret_value() if profile.api_key else None,
        "deployments": {name: token.get_secret_value() for name, token in sorted(profile.deployments.items())},
        "signing_keys": {url: dict(sorted(keys.items())) for url, keys in sorted(profile.signing_keys.items())},
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.parent.chmod(0o700)
        _replace(target, json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise SetupError(f"The profile {target} cannot be written: {error.strerror}.") from error
    return target


def _replace(target: Path, text: str) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def moved(profile: Profile, api_url: str) -> Profile:
    """The profile at another URL: secrets of the old one stay behind, for they belong to it."""
    if profile.api_url == api_url:
        return profile
    return replace(profile, api_url=api_url, api_key=None, deployments={})


def unpinned(profile: Profile, api_url: str) -> Profile:
    """The profile without pinned signing keys of one marketplace: the next manifest pins them anew."""
    return replace(profile, signing_keys={url: keys for url, keys in profile.signing_keys.items() if url != api_url})


def resolve(
    api_url: str | None = None, token: str | SecretStr | None = None, env: Mapping[str, str] = os.environ
) -> Connection:
    """Finds URL and token: arguments, then environment, then profile.

    Raises:
        SetupError: No URL is configured anywhere.
    """
    profile = load(env)
    url, url_from = _find_url(api_url, env, profile)
    given = token.get_secret_value() if isinstance(token, SecretStr) else token
    if given:
        return Connection(url, SecretStr(given), url_from, "argument")
    if env.get(TOKEN_VARIABLE):
        return Connection(url, SecretStr(env[TOKEN_VARIABLE]), url_from, TOKEN_VARIABLE)
    if profile.api_key and _same(profile.api_url, url):
        return Connection(url, profile.api_key, url_from, str(profile.path))
    return Connection(url, None, url_from, "nowhere")


def _find_url(api_url: str | None, env: Mapping[str, str], profile: Profile) -> tuple[str, str]:
    if api_url:
        return api_url, "argument"
    for variable in URL_VARIABLES:
        if env.get(variable):
            return env[variable], variable
    if profile.api_url:
        return profile.api_url, str(profile.path)
    raise SetupError(
        "No marketplace is configured.",
        hint="Pass its URL, mp_kit.connect(URL), or run `mp login --api-url URL`, or set MP_API_URL and MP_TOKEN.",
    )


def _same(one: str | None, other: str) -> bool:
    return one is not None and one.rstrip("/") == other.rstrip("/")
