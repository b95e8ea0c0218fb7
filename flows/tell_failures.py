"""Flow ``tell-failures``: tells the operator of training runs that failed, each once."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from mp_kit.server import redaction, telling
from mp_kit.server.services import failures
from mp_kit.server.wiring import open_house

redaction.install()


class Telling(BaseModel):
    """How to tell."""

    mail: bool = Field(default=True, description="Send a mail, where MP_SMTP_URL and MP_REPORT_EMAIL_TO are set.")


@task(
    name="tell",
    cache_policy=NO_CACHE,
    retries=2,  # a mail server that is busy takes it a little later
    retry_delay_seconds=[10, 60],
    retry_condition_fn=telling.is_worth_another_try,
)
def tell(order: Telling) -> list[dict[str, Any]]:
    """Sends the mail, then notes that it was sent: one who dies in between tells again rather than never."""
    with open_house() as house:
        with house.db.begin() as tx:
            failed = failures.untold(tx)
        if not failed:
            return []
        if order.mail and house.mailer is not None:
            house.mailer.send(*failures.letter(failed))
        with house.db.begin() as tx:
            failures.told(tx, failed, actor="flow:tell-failures")
    return failed


@flow(name="tell-failures", flow_run_name="tell-failures", persist_result=False)
def tell_failures(order: Telling = Telling()) -> int:  # noqa: B008 - read only, and the form's default
    """Tells the operator of training runs that failed since the last time.

    Args:
        order: How to tell.
    """
    failed = tell(order)
    get_run_logger().info("%d failed runs", len(failed))
    if failed:
        shown = failures.table(failed)
        create_table_artifact(key="failed-runs", table=shown, description="Training runs that failed")
    create_table_artifact(key="result", table=[{"failed": len(failed)}])
    return len(failed)


if __name__ == "__main__":
    tell_failures()
