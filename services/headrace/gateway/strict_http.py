"""What a request's head may be: bounded, and such that no proxy before this server reads it otherwise.

The parser (llhttp, in its strict mode) refuses most of what requests are smuggled with: two lengths, a length beside a transfer
encoding, folded lines, bare line feeds, NULs. What it lets pass is refused here, with all that comes after it on the connection.
A request that offers another protocol is answered in this one, as it may be, and is the last of its connection; one with a body,
which the parser would pass over, is refused.
"""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.gateway.problems import JSON, error_body

MAX_URL: Final = 16_384  # bytes
MAX_HEADERS: Final = 200
MAX_HEAD: Final = 65_536  # bytes of a head: its names, values and URL
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_PHRASES: Final = {400: "Bad Request", 414: "URI Too Long", 431: "Request Header Fields Too Large"}
_MALFORMED: Final = (400, "malformed_request", "the request is not one that every server reads alike")
_TOO_LONG: Final = (414, "url_too_long", f"the URL is longer than {MAX_URL} bytes")
_TOO_LARGE: Final = (431, "head_too_large", f"the head has more than {MAX_HEAD} bytes or {MAX_HEADERS} headers")
_UPGRADE: Final = (400, "upgrade", "no other protocol is spoken here: send a request with a body without Upgrade")
Refusal = tuple[int, str, str]


def refusal(version: str, url: bytes, headers: list[tuple[bytes, bytes]], *, upgrade: bool = False) -> Refusal | None:
    """Why a head is refused, as ``(status, code, message)``; None if it is fine. Names are in lower case.

    ``upgrade``: it offers another protocol. The parser takes all that follows such a head for that protocol, a body too.
    """
    if len(url) > MAX_URL:
        return _TOO_LONG
    if len(headers) > MAX_HEADERS or len(url) + sum(len(name) + len(value) for name, value in headers) > MAX_HEAD:
        return _TOO_LARGE
    hosts = [value for name, value in headers if name == b"host"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if version not in _VERSIONS or len(hosts) > 1 or (version == "1.1" and not hosts):
        return _MALFORMED
    if codings and (version != "1.1" or [coding.strip().lower() for coding in codings] != [b"chunked"]):
        return _MALFORMED
    if upgrade and (codings or any(name == b"content-length" and value != b"0" for name, value in headers)):
        return _UPGRADE
    return None


class StrictHttp(HttpToolsProtocol):
    """uvicorn's protocol with these bounds. A refusal has the one shape of errors, and ends the connection."""

    _in_head = False
    _head_size = 0
    _refusal: Refusal = _MALFORMED

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:  # still: a header that never ends must not fill the memory
            self._head_size += len(data)
            if self._head_size > MAX_HEAD + MAX_URL and not self.transport.is_closing():
                self._refusal = _TOO_LARGE
                self.send_400_response("")

    def on_message_begin(self) -> None:
        self._in_head, self._head_size = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        upgrade = self.parser.should_upgrade()
        refused = refusal(self.parser.get_http_version(), self.url, self.headers, upgrade=upgrade)
        if refused is not None:
            self._refusal = refused
            raise ValueError(refused[1])  # the parser stops, and ``send_400_response`` is called
        super().on_headers_complete()
        if upgrade:
            self.cycle.keep_alive = False

    def _unsupported_upgrade_warning(self) -> None:
        """The parser has stopped at an Upgrade (or CONNECT): what follows is in no protocol that is spoken here, and never read."""

    def send_400_response(self, msg: str) -> None:
        status, code, message = self._refusal
        body = error_body(code, message)
        head = f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: {JSON}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()
