"""MCP, both ways: servers of others whose tools agents use, and headrace as a server.

``config`` is the operator's file of servers, ``connection`` one server while it is in use, ``answers`` what its answers become;
``serving`` is headrace's own server over a small port. The package of the protocol is imported by those that speak it, since it
takes a second to load.
"""
