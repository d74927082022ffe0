"""Runs the benchmarks one after the other: ``python -m benchmarks``. Each is a script with ``--help`` of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("relay.py", "persistence_batch.py")

if __name__ == "__main__":
    for script in SCRIPTS:
        print(f"\n== {script}", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).parent / script)], check=True)
