"""headrace: the event-streaming mesh for AI agents on Kafka and Redpanda."""

__version__ = "0.1.0"
