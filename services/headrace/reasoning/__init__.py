"""Reasoning: the service that asks models. ``tool.results`` + ``agent.jobs`` -> ``tool.calls`` + ``agent.results``.

    admission     once per job: who runs, on which model, until when; or why not
    machine       what happens next: a pure table (state x event -> state + commands)
    execution     carries the commands out until a record is to be emitted
    transcript    the conversation as references; prompt, structured, calls, results: what goes in and what comes out
    processor     joins them to the runtime

It is stateless: a run lives in its records. It never calls tools and never writes to Postgres.
"""
