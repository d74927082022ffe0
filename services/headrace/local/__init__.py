"""The embedded stack: Kafka, a schema registry and PostgreSQL on one machine, without Docker."""
