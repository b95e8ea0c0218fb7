"""Who runs Postgres: it refuses root, so a root owner needs another identity for it.

1. An ordinary user runs it as itself.
2. Root runs it in a user namespace of its own, where possible: files stay root's, no folder is opened to anybody.
3. Where namespaces are forbidden, root drops to an existing unprivileged account; the data folder becomes that
   account's, and a data folder that already is some account's stays so.
4. No parent folder's mode is ever changed. A closed one is named in the refusal, with the mend.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mp_kit.errors import SetupError
from mp_kit.server import namespace
from mp_kit.server.spawning import after_fork
from mp_kit.server.store.pgbin import Binaries

__all__ = ["Identity", "choose", "hand_over", "own_folder", "prepare"]

_ACCOUNTS = ("postgres", "nobody")
_TEST = shutil.which("test") or "/usr/bin/test"
_COPY_PLACES = (Path("/var/lib"), Path(tempfile.gettempdir()))  # temp dirs are swept by age: the second choice


@dataclass(frozen=True)
class Identity:
    """Under whom the server runs.

    Attributes:
        account: The account to drop to; None runs it as the present user.
        namespace_uid: The uid that a root owner wears inside a user namespace; None for no namespace.
    """

    account: pwd.struct_passwd | None = None
    namespace_uid: int | None = None

    @property
    def uid(self) -> int:
        """The uid that owns the server's files, seen from outside."""
        return self.account.pw_uid if self.account else os.geteuid()

    def command(self, *argv: str | Path, death_signal: int | None = None) -> list[str]:
        """A program's command line under this identity.

        Args:
            argv: The program, by its whole path, and its arguments.
            death_signal: What it gets when its starter dies; None for nothing.
        """
        plain = [str(part) for part in argv]
        if self.namespace_uid is None:
            return plain
        return namespace.command(self.namespace_uid, plain, death_signal=death_signal or 0)

    def options(self, *, death_signal: int | None = None) -> dict[str, Any]:
        """Keyword arguments for ``subprocess``, which go with the command.

        Args:
            death_signal: What the child gets when its starter dies; None for nothing.

        Returns:
            ``user``, ``group``, ``extra_groups`` and ``preexec_fn`` as far as they are needed.
        """
        chosen: dict[str, Any] = {}
        if self.account:
            chosen = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        if death_signal is not None and self.namespace_uid is None:
            chosen["preexec_fn"] = after_fork(death_signal=death_signal)
        return chosen


def choose(data: Path, *, namespaces: bool = True) -> Identity:
    """Decides under whom a data folder's server runs.

    Args:
        data: The data folder, which need not exist.
        namespaces: Whether a user namespace may be used.

    Returns:
        The identity.

    Raises:
        SetupError: Root, no user namespaces, and no unprivileged account to drop to.
    """
    if os.geteuid() != 0:
        return Identity()
    owner = data.stat().st_uid if data.exists() else 0
    if owner != 0:
        return Identity(account=_account_of(data, owner))
    wearing = Identity(namespace_uid=_known_uid())
    if namespaces and wearing.namespace_uid is not None and _works(wearing):
        return wearing
    return Identity(account=_first_account())


def prepare(identity: Identity, folder: Path, binaries: Binaries) -> Binaries:
    """Makes the folder and the binaries reachable for the identity that root runs the server under.

    Args:
        identity: Under whom the server runs.
        folder: The folder that holds the data folder; it becomes the account's, if there is one.
        binaries: The binaries as found.

    Returns:
        The binaries to use: the same ones, or a copy that can be executed under that identity.

    Raises:
        SetupError: A parent of the folder is closed to it, or no place for the copy is open to it.
    """
    if identity == Identity():
        return binaries
    own_folder(identity, folder)
    if not _reaches(identity, folder):
        raise _closed(identity, folder)
    if _reaches(identity, binaries.folder / "postgres"):
        return binaries
    return _copied(identity, binaries)


def own_folder(identity: Identity, folder: Path) -> None:
    """Gives one folder of ours (not what is in it) to the account that root drops to, if any.

    Args:
        identity: Under whom the server runs.
        folder: The folder.
    """
    if identity.account:
        os.chown(folder, identity.account.pw_uid, identity.account.pw_gid)


def hand_over(identity: Identity, data: Path) -> None:
    """Gives a data folder that root's own server made to the account that serves it from now on.

    Args:
        identity: Under whom the server runs; without an account nothing happens.
        data: The data folder.
    """
    if not identity.account or data.stat().st_uid == identity.account.pw_uid:
        return
    owner = (identity.account.pw_uid, identity.account.pw_gid)
    for base, folders, files in os.walk(data):
        for name in (*folders, *files):
            os.lchown(Path(base) / name, *owner)
    os.chown(data, *owner)  # last: an interrupted hand-over starts again


def _reaches(identity: Identity, path: Path) -> bool:
    """Asks the system itself, as the account: modes, ACLs and mounts all count."""
    asked = subprocess.run(identity.command(_TEST, "-x", path), check=False, cwd="/", **identity.options())
    return asked.returncode == 0


def _closed(identity: Identity, folder: Path) -> SetupError:
    parents = [parent for parent in reversed(folder.parents) if not _reaches(identity, parent)]
    who = f"the account {identity.account.pw_name!r}" if identity.account else "root without its capabilities"
    return SetupError(
        f"PostgreSQL refuses root, and {who}, which it would run as, cannot enter {[*parents, folder][0]}.",
        hint="Give --home a folder whose parents are open to it (e.g. below /srv), run `mp up` as an ordinary user, "
        "or allow user namespaces (sysctl user.max_user_namespaces).",
    )


def _copied(identity: Identity, binaries: Binaries) -> Binaries:
    source = binaries.folder.parent
    mark = hashlib.sha256(f"{source}:{(binaries.folder / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:12]
    for place in _COPY_PLACES:
        copy = replace(binaries, folder=place / f"mp-postgres-{binaries.major}-{mark}" / binaries.folder.name)
        if _copy_once(source, copy.folder.parent) and _reaches(identity, copy.folder / "postgres"):
            return copy
    raise SetupError(
        f"PostgreSQL's programs in {source} are closed to the account it would run as, and no copy of them could be "
        f"made where that account may execute.",
        hint="Install mp-kit where every account may read it, or run `mp up` as an ordinary user.",
    )


def _copy_once(source: Path, target: Path) -> bool:
    """Copies an installation aside, then renames it, so that a finished name is a whole copy; False if refused."""
    if target.is_dir() and not target.is_symlink():
        state = target.lstat()
        return state.st_uid == os.geteuid() and not state.st_mode & 0o022
    try:
        aside = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    except OSError:
        return False
    try:
        shutil.copytree(source, aside / "tree", symlinks=True, ignore=shutil.ignore_patterns("include"))
        _open_tree(aside / "tree")
        (aside / "tree").rename(target)
    except OSError:
        return target.is_dir()  # somebody else finished the same copy first
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def _open_tree(tree: Path) -> None:
    for base, _, files in os.walk(tree):
        Path(base).chmod(0o755)
        for name in files:
            path = Path(base) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _works(identity: Identity) -> bool:
    """Whether the system lets root run a program so; its refusal is no news to anybody."""
    asked = subprocess.run(
        identity.command(_TEST, "-d", "/"), check=False, stderr=subprocess.DEVNULL, **identity.options()
    )
    return asked.returncode == 0


def _known_uid() -> int | None:
    """A uid with a passwd entry (initdb wants one) that is not root's; only Linux has user namespaces."""
    if sys.platform != "linux":
        return None
    others = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0]
    return max(others, default=None)  # nobody's, as a rule


def _account_of(data: Path, uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise SetupError(
            f"The data folder {data} belongs to uid {uid}, which is no account of this machine.",
            hint=f"chown -R it to root or to an account of this machine, or start `mp up` as uid {uid}.",
        ) from None


def _first_account() -> pwd.struct_passwd:
    for name in _ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SetupError(
        "PostgreSQL refuses root, user namespaces are forbidden here, and there is no account 'postgres' or 'nobody'.",
        hint="Run `mp up` as an ordinary user.",
    )
