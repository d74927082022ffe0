"""Sample deliveries for the demo: realistic but small, written for headrace, each of a kind that real senders send.

``deliveries.yaml`` is the list; bodies of webhooks are shaped like the sender's. Ids are derived from the seed and the sample's
name: the same seed sends the very same deliveries again (which the mesh takes as duplicates), another seed sends new ones.
"""

from headrace.samples.load import Sample, samples

__all__ = ["Sample", "samples"]
