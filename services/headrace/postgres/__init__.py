"""What every user of Postgres shares: the pool and its errors, the schema's migrations, and batching."""
