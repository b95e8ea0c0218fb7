"""Webhooks: what the marketplace tells vendors and consumers unasked, and where to."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from mp_kit.contracts.common import Instant, Model

_LONGEST_URL = 2_048


class WebhookEventType(StrEnum):
    """What a message may tell."""

    SIGNAL_STORED = "signal.stored"  # a batch of the vendor's signals
    CONSENSUS_UPDATED = "consensus.updated"  # bars that were blended
    RUN_FINISHED = "run.finished"  # one of the vendor's trainings
    ROUND_PUBLISHED = "round.published"
    MODEL_PROMOTED = "model.promoted"  # a version of the vendor's models changed its stage
    DEPLOYMENT_OFFLINE = "deployment.offline"  # one of the vendor's deployments fell silent
    POLL_PAUSED = "deployment.poll_paused"  # calls of one of the vendor's deployments failed too often in a row
    POLL_RESUMED = "deployment.poll_resumed"  # the first call that went well again
    REPORT_FINISHED = "report.finished"  # to those whose eyes the report is for
    PING = "ping"  # a test, sent to the one endpoint that asked for it

    @property
    def is_public(self) -> bool:
        """Whether it goes to everybody who wants it."""
        return self in {WebhookEventType.CONSENSUS_UPDATED, WebhookEventType.ROUND_PUBLISHED}

    @property
    def is_for_operators(self) -> bool:
        """Whether an endpoint of the operator's may want it."""
        return self.is_public or self is WebhookEventType.REPORT_FINISHED

    @property
    def can_be_wanted(self) -> bool:
        """Whether an endpoint may list it."""
        return self is not WebhookEventType.PING


class WebhookStatus(StrEnum):
    """Whether an endpoint gets messages."""

    ENABLED = "enabled"
    DISABLED = "disabled"  # it answered 410, or failed for days; ``disabled_reason`` says which


class WebhookDeliveryStatus(StrEnum):
    """Where a message is on its way to an endpoint."""

    PENDING = "pending"  # to be sent, or to be sent again
    DELIVERED = "delivered"  # answered 2xx
    DEAD = "dead"  # given up after the last attempt; replay brings it back


def _wanted(events: list[WebhookEventType]) -> list[WebhookEventType]:
    odd = [event.value for event in events if not event.can_be_wanted]
    if odd:
        known = ", ".join(event.value for event in WebhookEventType if event.can_be_wanted)
        msg = f"{', '.join(odd)} cannot be subscribed to; there are {known}"
        raise ValueError(msg)
    return sorted(set(events))


class WebhookRequest(Model):
    """An endpoint to be."""

    url: str = Field(min_length=8, max_length=_LONGEST_URL)
    events: Annotated[list[WebhookEventType], AfterValidator(_wanted)] = Field(min_length=1, max_length=16)
    description: str = Field("", max_length=200)


class Webhook(Model):
    """An endpoint: where messages go, which, and how it does.

    ``status`` is one of :class:`WebhookStatus`; until ``secret_overlap_until`` messages are signed with the former
    secret too.
    """

    id: str
    url: str
    events: list[str]
    description: str = ""
    status: str
    disabled_reason: str | None = None
    failing_since: Instant | None = None
    last_success_at: Instant | None = None
    secret_overlap_until: Instant | None = None
    created_at: Instant


class IssuedWebhook(Webhook):
    """An endpoint with its new secret, which is told this once."""

    secret: str = Field(repr=False)


class WebhookAttempt(Model):
    """One time that a message was sent: the status that came, or what went wrong."""

    at: Instant
    http_status: int | None = None
    error: str | None = None
    milliseconds: int


class WebhookDelivery(Model):
    """A message on its way to an endpoint; ``status`` is one of :class:`WebhookDeliveryStatus`.

    ``event_id`` is the message's ``webhook-id``, ``log`` its latest attempts, oldest first.
    """

    id: str
    event_id: str
    event_type: str
    status: str
    attempts: int
    created_at: Instant
    next_attempt_at: Instant | None = None
    delivered_at: Instant | None = None
    log: list[WebhookAttempt] = Field(default_factory=list)
