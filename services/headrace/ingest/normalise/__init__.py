"""From a raw delivery to canonical events: one file per sender, pure functions, no I/O.

``forms.open_delivery`` decides what a record is (webhook, CloudEvent, envelope) and names it; ``senders.normalise`` turns it
into drafts by the sender's own function; ``delivery.to_event`` makes an ``Event`` of a draft. The same record always gives the
same events.
"""
