"""An index made again beside the live one, in a schema of its own in the same database, and then put in its place.

tables.py     the schema beside: making it, putting it in the live one's place in one transaction, dropping it
reading.py    persistence's own code over a group of its own, writing there
comparing.py  both indexes row by row
"""
