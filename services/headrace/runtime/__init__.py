"""The runtime: the only part of headrace that speaks to Kafka. See ``runtime.worker`` for the theory of operation."""
