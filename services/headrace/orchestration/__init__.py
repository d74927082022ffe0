"""The orchestration service: what has to be remembered between records. Runs that wait are kept here until they can go on.

Its state is in Postgres, and every write of it may be repeated. ``router`` gives each record to the parts that take
it; a part owns its message types, its tables and nothing else.
"""
