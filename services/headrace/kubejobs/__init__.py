"""Agents that run as Kubernetes Jobs: code_interpreter, custom_container, langchain_agent.

``job`` builds and checks the Job, a pure function of a call's arguments and the operator's settings; ``cluster`` submits it, says
how it ended and removes it (``port`` is what is needed of it, ``reach`` the way to it); ``delegated`` is the two ends of a
delegation, which different services hold: who submits a Job does not wait for it. Where no cluster is set up the outcome is the
Job that would be submitted.
"""
