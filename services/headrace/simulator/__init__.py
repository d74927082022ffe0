"""A model provider that is not one: a real HTTP server that speaks the OpenAI and Anthropic wires and answers by script.

Tests and benchmarks point the real clients at it, so that what is exercised is what runs in production, down to the sockets. The
answers are a function of the request and the script (``simulator.script``); nothing here is random or learned, and nothing in the
mesh takes its answers for a model's. Use ``simulator.server.Simulator`` inside a process, or ``python -m headrace.simulator``.
"""
