"""Budgets: what model calls of a tenant, an agent, a session or a run may use, in tokens and money, within a window of time.

    rules      which accounts a run draws on, and when a window opens anew; pure
    lease      what one process may still spend of an account without asking anybody; pure
    spending   reserve before a model call, settle after it: leases kept by a process, renewed in batches
    postgres   budgets, accounts and leases as rows
    follow     the budgets, kept in memory
    changes    a change of a budget, recorded before it is made

What is *spent* of an account is what the index of runs says: it is counted with the very rows that persistence makes of records, in
the same transaction. So each turn counts once however often its record is read, and a rebuild of the index rebuilds the
accounts. What is not filed there yet is held by *leases*: parts of what is left that a process takes in advance. A call begins
only while something is left, so an account is passed by no more than the calls in flight use beyond what they reserved.
"""
