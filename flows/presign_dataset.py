"""Flow ``presign-dataset``: hands a round's files to somebody outside."""

from __future__ import annotations

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from mp_kit.server import redaction
from mp_kit.server.services import handover
from mp_kit.server.services.handover import Grant, GrantOrder
from mp_kit.server.wiring import open_house

redaction.install()


@task(name="sign", cache_policy=NO_CACHE)
def sign(order: GrantOrder) -> Grant:
    """Signs the URLs into a file that only the operator reads; the grant is a row."""
    with open_house() as house, house.db.begin() as tx:
        return handover.grant(tx, house.store, order, house.settings.home / "grants")


@flow(name="presign-dataset", flow_run_name="grant-{order.round_id}-to-{order.who}", persist_result=False)
def presign_dataset(order: GrantOrder) -> str:
    """Signs URLs of a round's files for somebody who is no vendor.

    Args:
        order: What to whom, and for how long.

    Returns:
        The path of the file with the URLs; they stand nowhere else.
    """
    grant = sign(order)
    text = (
        f"{grant.files} files of round {grant.round_id} ({grant.size_bytes:,} bytes) for {grant.who}, "
        f"until {grant.expires_at}: the URLs are in `{grant.path}` on the operator's machine."
    )
    get_run_logger().info(text)
    create_markdown_artifact(key="grant", markdown=text, description=f"Handed to {grant.who}")
    create_table_artifact(key="result", table=[{"round_id": grant.round_id, "path": str(grant.path)}])
    return str(grant.path)
