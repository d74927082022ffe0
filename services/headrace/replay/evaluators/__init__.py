"""Evaluators: what somebody holds an agent's answers to, as data, and what the runs of a shadow replay come to by it.

    definitions   what an evaluator may say
    load          from a YAML file to checked definitions
    checks        a verdict by rule: a function of the event, the live answer and the answer at hand (pure)
    judge         a verdict by a model: what it is asked, and what its answer means (pure)
    judging       asking it, within the replay's budget, once
    verdicts      the table of what judges said
    tally         verdicts counted, and the candidate's against those of live and baseline (pure)
    evaluation    all evaluators over all pairs of a replay

The house's expression language is JMESPath with the bounds of a trigger's filter, and its regular expressions are RE2's.
"""
