"""Which function normalises which delivery. A sender without a row passes through ``generic``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from headrace.ingest.normalise import alertmanager, cloudevents, envelope, generic, github
from headrace.ingest.normalise.delivery import Delivery, Draft

Normaliser = Callable[[Delivery], list[Draft]]


def normalise(delivery: Delivery) -> list[Draft]:
    """The events of a delivery, in its order. Raises ``RejectedMessage`` or ``UndecodableMessage``."""
    return SENDERS.get((delivery.form, delivery.source), FORMS[delivery.form])(delivery)


SENDERS: Final[dict[tuple[str, str], Normaliser]] = {
    ("webhook", "/webhooks/github"): github.normalise,
    ("webhook", "/webhooks/alertmanager"): alertmanager.normalise,
}
FORMS: Final[dict[str, Normaliser]] = {
    "webhook": generic.normalise,
    "cloudevent": cloudevents.normalise,
    "envelope": envelope.normalise,
}
