"""Commands that go on until they are stopped, stopped when they have shown that they work.

python -m tests.docs.stopped ready run reasoning      SIGTERM when it is ready; exits as it did
python -m tests.docs.stopped line results tail        Ctrl-C after its first line; events are sent until it comes
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import httpx2

from tests.support.interrupts import heed_interrupts
from tests.support.mesh import until
from tests.support.ports import free_port

SECONDS = 60
EVENT = ("events", "send", "--source", "shop", "--type", "ticket.created", "--payload", '{"title": "Charged twice"}')


def ready(arguments: list[str]) -> int:
    """Its exit code after SIGTERM, once it is ready."""
    ports = {name: str(free_port()) for name in ("HEADRACE_OPS_PORT", "HEADRACE_GATEWAY_PORT")}
    process = subprocess.Popen(["headrace", *arguments], env=os.environ | ports)
    try:
        until(lambda: process.poll() is not None or _answers(ports["HEADRACE_OPS_PORT"]), SECONDS, "it is ready")
        process.terminate()
        return process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()


def _answers(port: str) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def line(arguments: list[str]) -> int:
    """0 if it printed a line, and ended well when it was told to."""
    process = subprocess.Popen(
        ["headrace", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_interrupts
    )
    assert process.stdout is not None
    assert process.stderr is not None
    printed = threading.Event()

    def send() -> None:
        while not printed.is_set():
            subprocess.run(["headrace", *EVENT], stdout=subprocess.DEVNULL, check=True)
            printed.wait(3)

    sender = threading.Thread(target=send)
    killer = threading.Timer(SECONDS, process.kill)
    killer.start()
    try:
        said = process.stderr.readline()  # that it follows the topic: it does not show what was sent before
        sender.start()
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
        sys.stdout.write(first.decode())
        sys.stderr.write(f"{(said + errors).decode()}ended with {process.returncode}\n")
        return 0 if first and process.returncode == 0 else 1
    finally:
        printed.set()
        killer.cancel()
        sender.join()


if __name__ == "__main__":
    sys.exit({"ready": ready, "line": line}[sys.argv[1]](sys.argv[2:]))
