"""What pipelines led to, kept per tenant: results that may be given again, and pipelines that are used again and again
as composite tools.

``canonical`` says when two pipelines are one, ``naming`` what a composite tool is called and said to do; both are pure.
``cache``, ``usage``, ``composites`` and ``search`` are tables in Postgres. Nothing here runs a pipeline, and no run
depends on it: while Postgres is away pipelines are computed, uncounted.
"""
