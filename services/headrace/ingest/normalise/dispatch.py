"""Which normaliser is for which delivery: code for some, rules for most. A sender with neither passes through ``generic``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from headrace.ingest.normalise import alertmanager, cloudevents, envelope, generic, grafana
from headrace.ingest.normalise.declared.engine import Sender
from headrace.ingest.normalise.declared.rules import load_rules
from headrace.ingest.normalise.delivery import Delivery, Draft

Normaliser = Callable[[Delivery], list[Draft]]


def normalise(delivery: Delivery) -> list[Draft]:
    """The events of a delivery, in its order. Raises ``RejectedMessage`` or ``UndecodableMessage``."""
    if delivery.form == "webhook":
        return SENDERS.get(delivery.source, generic.normalise)(delivery)
    return FORMS[delivery.form](delivery)


SENDERS: Final[dict[str, Normaliser]] = {
    **{f"/webhooks/{rules.name}": Sender(rules) for rules in load_rules()},
    "/webhooks/alertmanager": alertmanager.normalise,
    "/webhooks/cloudevents": cloudevents.normalise_webhook,
    "/webhooks/grafana": grafana.normalise,
}
REMINDING: Final = frozenset(
    {"/webhooks/alertmanager", "/webhooks/grafana"}
)  # who send the same bytes again as a reminder
FORMS: Final[dict[str, Normaliser]] = {"cloudevent": cloudevents.normalise, "envelope": envelope.normalise}
