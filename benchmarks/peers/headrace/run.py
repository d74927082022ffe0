"""headrace's own worker: reasoning and tools in one process, with waits for a model and a tool. See README.md."""

from __future__ import annotations

import os
import sys
import threading
import time
import urllib.error
import urllib.request

from benchmarks.peerkit.work import Spec, ready

from benchmarks import waiting_worker


def announce(port: int) -> None:
    """READY once the worker's own readiness says so."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(f"http://127.0.0.1:{port}/readyz", timeout=1):
                ready()
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.01)


def main() -> None:
    spec = Spec.given()
    threading.Thread(target=announce, args=[int(os.environ["HEADRACE_OPS_PORT"])], daemon=True).start()
    sys.argv[1:] = ["--model-ms", f"{spec.model_s * 1000:.0f}", "--tool-ms", f"{spec.tool_s * 1000:.0f}"]
    sys.argv += ["--in-flight", str(spec.in_flight), *(["--calls", spec.calls] if spec.calls else [])]
    waiting_worker.main()


if __name__ == "__main__":
    main()
