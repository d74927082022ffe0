"""``python -m headrace.simulator --port 8099 --script script.yaml --latency-ms 500``"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from headrace.simulator.script import Script
from headrace.simulator.server import serve


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m headrace.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=8099, help="on 127.0.0.1; 0: any free port")
    parser.add_argument("--script", type=Path, help="YAML or JSON; without one, schema-shaped default answers")
    parser.add_argument("--latency-ms", type=float, help="of replies that say none; overrides the script's")
    parser.add_argument("--keep", type=int, default=0, help="how many requests GET /simulator/requests shows")
    options = parser.parse_args(arguments)
    try:
        script = Script.load(options.script) if options.script else Script()
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    if options.latency_ms is not None:
        script = script.model_copy(update={"latency_ms": options.latency_ms})
    serve(script, port=options.port, keep=options.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
