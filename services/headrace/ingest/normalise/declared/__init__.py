"""Senders whose events a file of rules describes: the rules' language, and the engine that reads deliveries by them."""
