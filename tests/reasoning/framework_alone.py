"""``python -m tests.reasoning.framework_alone RUNTIME SIMULATOR_URL``: a run by a framework in a process of its own. The last line
is what the process reached out for until its very end, as JSON.

Python tells of each connection, look-up, child process, folder made and file opened to be written, whichever package asks
(``sys.addaudithook``).
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from typing import Any

FRAMEWORKS = ("crewai", "chromadb", "autogen_core", "autogen_agentchat", "langgraph", "langchain_core")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
REPORT: dict[str, Any] = {"reached": [], "status": None, "imported_before": None}


def watch(event: str, args: tuple[Any, ...]) -> None:
    reached = REPORT["reached"]
    match event, args:
        case "socket.connect", (_, (host, port, *_)):
            reached.append(f"connect {host}:{port}")
        case "socket.getaddrinfo", (host, *_):
            reached.append(f"look up {host}")
        case "subprocess.Popen" | "os.mkdir" | "sqlite3.connect", (what, *_):
            reached.append(f"{event} {what}")
        case "open", (path, _, int(flags)) if flags & _WRITES and path != os.devnull:
            reached.append(f"write {path}")


def main(runtime: str, url: str) -> None:
    import asyncio

    from headrace.models.resolve import Models
    from headrace.models.settings import ModelSettings
    from tests.reasoning.bench import Bench, definition

    REPORT["imported_before"] = [name for name in FRAMEWORKS if name in sys.modules]

    async def run() -> None:
        settings = ModelSettings(_env_file=None, openai_api_key="sk-simulated", openai_base_url=f"{url}/v1")
        models = Models(settings)
        (result,) = await Bench(models, definition(runtime=runtime, tools=())).start()
        REPORT["status"] = result.status
        await models.close()

    asyncio.run(run())


if __name__ == "__main__":
    atexit.register(lambda: print(json.dumps(REPORT)))  # the first to be registered is the last to be called
    sys.addaudithook(watch)
    main(*sys.argv[1:])
