"""The ingest service: raw deliveries in, canonical events and the jobs that they trigger out."""
