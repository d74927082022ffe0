"""Shadow replays: a range of real events reasoned again by another version, beside the mesh and never within it.

    plan        what is replayed: the range, the candidate, the choice among events; kept in Postgres, so that it can be taken up
    choice      which event is replayed, and why another is not (pure)
    answers     what tools gave to the live runs, by tool and arguments
    spending    the budget of a replay's model calls
    processor   an event in, its whole shadow run out: a stage of the runtime, in a consumer group of the replay's own
    range       the events of the range, counted
    account     each event of the range with its live run, its shadow run and its baseline run
    compare     what the pairs say (pure); ``statistics`` has the intervals
    sessions    conversations of the replay's own
    reading     tools that are asked what was never recorded, if they only read
    page        the report as one HTML file; ``plots`` draws

Nothing live is written: the topics ``shadow.*`` with the blobs that their records name, and tables of replays.
"""
