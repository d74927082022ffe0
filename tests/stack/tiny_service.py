"""A service for the supervisor's tests: `python -m tests.stack.tiny_service FOLDER [crash | loop]`.

Ready on `$HEADRACE_OPS_PORT`; writes its endpoints to FOLDER/seen and, when asked to stop, to FOLDER/drained whether the
database still answers. `crash`: says why and exits at once.
"""

import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

IMPORTED_IN = os.getpid()


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def database_answers() -> bool:
    where = urlsplit(os.environ["DATABASE_URL"])
    try:
        socket.create_connection((where.hostname or "", where.port or 0), 2).close()
    except OSError:
        return False
    return True


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0])

    def drain(_number: int, _frame: object) -> None:
        (folder / "drained").write_text(str(database_answers()))
        sys.exit(0)

    if "crash" in arguments:
        sys.exit("the tiny service has no configuration")
    signal.signal(signal.SIGTERM, drain)
    with (folder / "seen").open("a") as seen:
        seen.write(f"{os.environ['DATABASE_URL']} {(folder / 'prepared').exists()} {os.environ['GREETING']}\n")
    if os.getpid() != IMPORTED_IN:
        (folder / "forked").touch()
    HTTPServer(("127.0.0.1", int(os.environ["HEADRACE_OPS_PORT"])), Ready).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
