"""Agents that run as Kubernetes Jobs: code_interpreter, custom_container, langchain_agent.

``job`` builds and checks the Job, a pure function of a call's arguments and the operator's settings; ``cluster`` submits and
follows it (``port`` is what is needed of it); ``delegated`` is the one way in: a call's arguments to its outcome. Where no cluster
is set up the outcome is the Job that would be submitted.
"""
