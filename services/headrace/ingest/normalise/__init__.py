"""From a raw delivery to canonical events: pure functions, no I/O.

``forms.open_delivery`` decides what a record is (webhook, CloudEvent, envelope) and names it; ``dispatch.normalise`` turns it into
drafts, by a sender's rules (``senders``, read by ``declared``) or by code; ``delivery.to_event`` makes an ``Event`` of a draft. The
same record always gives the same events.
"""
