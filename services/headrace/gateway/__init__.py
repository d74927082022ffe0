"""The gateway: HTTP in, records out. It verifies, bounds, makes durable (acks=all), and only then answers 202."""
