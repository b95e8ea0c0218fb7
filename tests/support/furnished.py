"""A marketplace with something of everything that a backup has to bring back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

from pydantic import SecretStr
from sqlalchemy import text

from mp_kit.contracts import Stage
from mp_kit.server import settings as settings_module
from mp_kit.server.house import House
from mp_kit.server.services import connections, publication, reports
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.publication import RoundOrder
from mp_kit.server.services.reports import Audience
from mp_kit.server.wiring import build
from tests.support.desks import publish
from tests.support.voices import make_voice, say, signal
from tests.support.walks import write_bars

MODEL = b"a model's bytes, as a training left them"
CREDENTIAL = "hf_0123456789abcdefghijHF"


def house_over(url: str, home: Path) -> House:
    """A house over a database, with a home whose secrets are made where there are none."""
    settings_module.ensure_secrets(home)
    return build(settings_module.load(home, {"MP_DATABASE_URL": url}))


def furnish(house: House, folder: Path, *, name: str = "Kept", signed: bool = True) -> SimpleNamespace:
    """A round, a vendor with signals under receipts, a run's artifact, a report, a credential; their ids.

    The round has files and a signature only where it is to be ``signed``: that takes a second.
    """
    folder.mkdir(exist_ok=True)
    round_id = "rnd_desk"
    if signed:
        order = RoundOrder(source=str(write_bars(folder, "EURUSD")), name="kept")
        round_id = publication.run(house.db.begin, house.store, house.signer, order, actor="test").round_id
    with house.db.begin() as tx:
        if not signed:
            publish(tx, round_id)
        who = make_voice(tx, house, name, Stage.PILOT)
        for hour in range(3):
            say(tx, who, *(signal(symbol=symbol, event_time=f"2026-01-05T{hour:02}:00:00Z") for symbol in ("A", "B")))
        vendor = who.vendor_id or ""
        connections.put(tx, house.vault, vendor, "huggingface", SecretStr(CREDENTIAL), actor="test")
        run_id = new_id("run")
        tx.execute(
            text(
                "INSERT INTO training_runs (id, vendor_id, round_id, task, provider, state, body_sha256, started_at,"
                " finished_at) VALUES (:run, :vendor, :round, 'signal', 'byoc', 'succeeded', '', now(), now())"
            ),
            {"run": run_id, "vendor": vendor, "round": round_id},
        )
        tx.execute(
            text(
                "INSERT INTO run_artifacts (run_id, name, size_bytes, sha256, object_key, uploaded_at)"
                " VALUES (:run, 'model.onnx', :size, :sha, 'x', now())"
            ),
            {"run": run_id, "size": len(MODEL), "sha": hashlib.sha256(MODEL).hexdigest()},
        )
        report_id = reports.begin(tx, "x", {}, None, title="x", audience=Audience.VENDOR, vendor_id=vendor)
    house.store.put_bytes(f"runs/{run_id}/model.onnx", MODEL)
    (folder / "x.html").write_text("<p>figures</p>")
    key = reports.keep(house.store, "x", report_id, {"html": folder / "x.html"})
    with house.db.begin() as tx:
        reports.end(tx, report_id, object_key=key)
    ids = {"run": run_id, "round": round_id, "report": report_id}
    return SimpleNamespace(who=who, vendor=vendor, artifact=f"runs/{run_id}/model.onnx", **ids)


def tamper(url: str, statement: str) -> None:
    """Changes rows behind every trigger's back, as whoever has the server's files can."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement)
