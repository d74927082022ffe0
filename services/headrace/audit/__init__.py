"""The audit log: one entry on ``audit.events`` for each record of the mesh, chained by hash per partition of its source.

    every topic --> processor (one record after the other per partition) --> audit.events --> verify

What is guaranteed: each record that this service reads becomes exactly one entry, in offset order, whatever is killed when; and an
entry that is changed, dropped or moved afterwards breaks the chain at a place that ``headrace audit verify`` names. What is not:
whoever may rewrite all of ``audit.events`` from some entry on can make a chain that is whole in itself; keep the heads that
``verify --json`` prints elsewhere to hold against that.
"""
