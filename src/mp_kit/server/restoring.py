"""A backup's way back into a marketplace: the whole of it, or nothing, and then a look at everything.

1. Nothing is touched before dump, list and manifest are found to be what was written, and read by this release.
2. A database that holds anything is left alone, unless it is said to go. It changes in one transaction.
3. Objects are put before the database is: rows that point to nothing would be worse than objects nobody points to.
4. What was restored is checked against the backup as it is, then brought to the newest schema, then checked by itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mp_kit.errors import ConflictError, SetupError
from mp_kit.server import settings as settings_module
from mp_kit.server import up
from mp_kit.server.house import House
from mp_kit.server.services import audit, backup, backup_objects, checks
from mp_kit.server.services.backup import Backup
from mp_kit.server.services.backup_objects import Listed
from mp_kit.server.services.backup_places import Place, open_place
from mp_kit.server.services.checks import Check
from mp_kit.server.store import embedded, migrate, pgdump, snapshots
from mp_kit.server.wiring import build, open_house

__all__ = ["at_rest", "restore"]

_DATABASE = "marketplace"


@contextmanager
def at_rest(home: Path | None, *, new_secrets: bool) -> Iterator[House]:
    """A marketplace to restore into, for the length of a block: that of MP_DATABASE_URL, else a home where none runs.

    Args:
        home: Its folder; it need not be there yet.
        new_secrets: Secrets may be made for a home that has none.

    Raises:
        ConflictError: An `mp up` runs over the home.
        SetupError: The home has no secrets.
    """
    if os.environ.get("MP_DATABASE_URL"):
        with open_house(home) as house:
            yield house
        return
    folder = (home or settings_module.default_home()).absolute()
    _require_secrets(folder, made=new_secrets)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with up.alone(folder):
        server = embedded.start(folder / "postgres", die_with_parent=True)
        try:
            embedded.ensure_database(server, _DATABASE)
            house = build(settings_module.load(folder, {**os.environ, "MP_DATABASE_URL": server.url(_DATABASE)}))
            try:
                yield house
            finally:
                house.close()
        finally:
            embedded.stop(folder / "postgres")


def restore(house: House, where: str, *, force: bool, actor: str, say: Callable[[str], None]) -> list[Check]:
    """Restores a backup and checks what came of it.

    Args:
        house: The marketplace to restore into; nothing else runs on it.
        where: The backup's own folder or URL.
        force: Whatever the database holds may go.
        actor: Who, for the audit log.
        say: Tells progress.

    Returns:
        What was checked; the restore is good when none has a problem.

    Raises:
        ConflictError: The database is not empty.
        IntegrityError: The backup is damaged.
        SetupError: A newer release made it, or the database does not take it.
    """
    with open_place(where, house.settings.store_env) as place:
        say("reading the backup")
        made, listed = _read(house, place, say)
        major = _require_empty(house, force=force)
        with tempfile.TemporaryDirectory(prefix="mp-restore-") as folder:
            scratch = Path(folder)
            damaged = _objects(house, place, made, listed, scratch, say)
            say("database")
            dump = _local(place, scratch)
            pgdump.restore(house.settings.database_url, major, dump, list(made.roles))
    say("verifying")
    return _look(house, made, listed, damaged, actor)


def _look(house: House, made: Backup, listed: list[Listed], damaged: Sequence[str], actor: str) -> list[Check]:
    with house.db.begin() as tx:
        found = [Check("backup", f"of {made.made_at}, by mp-kit {made.release}", damaged), *checks.against(tx, made)]
    with house.db.begin() as tx:
        migrate.upgrade(tx)
        problems = sum(len(one.problems) for one in found)
        audit.record(tx, actor, "backup.restore", made.made_at, release=made.release, problems=problems)
    return [*found, *checks.everything(house.db, house.store, house.vault, listed)]


def _read(house: House, place: Place, say: Callable[[str], None]) -> tuple[Backup, list[Listed]]:
    made, listed, ours = backup.read(place, house.signer.public)
    if not ours:
        say(f"the backup is signed by another marketplace's key than MP_SIGNING_SEED's {house.signer.key_id}")
    if made.revision > migrate.newest():
        raise SetupError(
            f"The backup's schema is {made.revision}, and this release knows {migrate.newest()}.",
            hint=f"Restore it with mp-kit {made.release} or newer.",
        )
    return made, listed


def _require_empty(house: House, *, force: bool) -> int:
    with house.db.begin() as tx:
        major = snapshots.server_major(tx)
        if not force and not snapshots.is_bare(tx):
            raise ConflictError(
                "This marketplace is not empty: it has vendors, rounds, signals or runs.",
                hint="Restore into another home or database; --force throws away what is here.",
            )
    return major


def _objects(
    house: House, place: Place, made: Backup, listed: list[Listed], scratch: Path, say: Callable[[str], None]
) -> list[str]:
    if not made.copied:
        say("the backup has no copies of objects: they are looked for in this marketplace's store")
        return []
    say("objects")
    return backup_objects.put_back(house.store, place, listed, scratch)


def _local(place: Place, scratch: Path) -> Path:
    path = scratch / backup.DUMP
    with place.open(backup.DUMP) as source, path.open("wb") as target:
        while piece := source.read(1 << 20):
            target.write(piece)
    return path


def _require_secrets(folder: Path, *, made: bool) -> None:
    if not (folder / settings_module.SECRETS_FILE).is_file() and not made:
        raise SetupError(
            f"{folder} has no {settings_module.SECRETS_FILE}, and a backup holds none.",
            hint="Copy the old home's secrets.json there first. If it is lost: --new-secrets; then vendors get new "
            "keys and connect their accounts again.",
        )
    settings_module.ensure_secrets(folder)
