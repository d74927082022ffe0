"""What is said to runs from outside, in Postgres: whose turn it is (``turns``), and which have to end (``cancellations``)."""
