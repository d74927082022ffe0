"""What the commands of workflows share: calls of the gateway's API, and files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from headrace.cli.output import print_json, stop
from headrace.cli.target import Target, gateway_client, run_async
from headrace.registry.yaml12 import Document, YamlProblem

_CODES: Final = {400: 2, 404: 4, 503: 3}  # by status; else 1


def get(target: Target, tag: str, version: int | None) -> Any:
    """A version of a workflow; by default the live one."""
    query = f"?version={version}" if version is not None else ""
    return call(target, "GET", f"/workflows/{part(tag)}{query}")


def call(target: Target, method: str, path: str, body: Any = None) -> Any:
    """An answer of the API. Exits with the code that fits its refusal."""

    async def ask() -> tuple[int, bool, Any]:
        import httpx2

        async with gateway_client(url) as client:
            try:
                response = await client.request(method, path, json=body)
                return response.status_code, response.is_success, response.json()
            except httpx2.TransportError as error:
                raise stop(f"no answer from {url} ({type(error).__name__})", 3) from None
            except ValueError:
                raise stop(f"{url} gave no answer of this API: is that the gateway's address?", 1) from None

    url = target.gateway_url()
    status, done, answer = run_async(ask())
    if done:
        return answer
    error = answer.get("error", {}) if isinstance(answer, dict) else {}
    where = f" (at {error['where']})" if error.get("where") and status == 422 else ""
    raise stop(f"{error.get('message', status)}{where}", _CODES.get(status, 1))


def read(file: Path) -> Any:
    """The value of a YAML or JSON file; ``-`` is standard input."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return Document(text).value
    except YamlProblem as problem:
        raise stop(f"{file}:{problem.line or 1}: {problem}", 1) from None
    except (OSError, UnicodeDecodeError) as error:
        raise stop(f"{file}: {getattr(error, 'strerror', None) or 'not UTF-8'}", 1) from None


def changed(made: dict[str, Any], json: bool) -> None:
    """Say which version was made."""
    if json:
        print_json(made)
    else:
        print(f"{made['tag']} version {made['version']}, patch {made['patch_id']}")


def value_of(option: str, text: str) -> Any:
    """The JSON that an option holds. Exits with 2 if it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise stop(f"{option} is not JSON: {error}", 2) from None


def part(text: str) -> str:
    """``text`` as one part of a path, whatever is in it."""
    return quote(text, safe="")
