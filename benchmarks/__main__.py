"""Runs the benchmarks one after the other: ``python -m benchmarks``. Each is a script with ``--help`` of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = ("pipeline", "accounts", "relay", "persistence_batch")

if __name__ == "__main__":
    for module in MODULES:
        print(f"\n== {module}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{module}"], cwd=ROOT, check=True)
