"""Ctrl-C for the processes of a test, also where the tests themselves run in the background of a shell, which has its children
ignore it: ``Popen(..., preexec_fn=heed_interrupts)``.
"""

import signal


def heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
