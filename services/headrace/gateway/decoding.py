"""Content codings of request bodies: undone as the bytes come in, within bounds on what comes out.

A decoder never makes more than a step at once, so neither a bound on the size nor one on the ratio can be passed by more than that.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

import brotli  # type: ignore[import-untyped]
from backports import zstd

from headrace.gateway.problems import HttpError

STEP: Final = 64 * 1024  # bytes of output at once
MAX_RATIO: Final = 200  # text of machines reaches 20 to 50, a bomb a thousand and more
_FREE: Final = 1024 * 1024  # bytes of output that no ratio is asked of: small bodies may well be one character
_ZSTD_WINDOW: Final = 23  # 8 MiB, the most that HTTP allows: RFC 9659


class Decoder(Protocol):
    """``decode(data)`` gives the output of it in pieces of ``STEP`` bytes, twice that at most.

    It raises ``ValueError``, or an error of its library, for data that is none.
    """

    def decode(self, data: bytes) -> Iterator[bytes]: ...

    @property
    def finished(self) -> bool:
        """Whether the data ended where its format says, with nothing behind it."""
        ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    def decode(self, data: bytes) -> Iterator[bytes]:
        if data and self._inner.eof:
            raise ValueError("data behind the end")
        full = False
        while data or full:  # a full step may have left output behind with no input to go with it
            piece = self._inner.decompress(data, STEP)
            yield piece
            data, full = self._inner.unconsumed_tail, len(piece) == STEP

    @property
    def finished(self) -> bool:
        return self._inner.eof and not self._inner.unused_data


class _Brotli:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()

    def decode(self, data: bytes) -> Iterator[bytes]:
        piece = self._inner.process(data, output_buffer_limit=STEP)
        while piece or not self._inner.can_accept_more_data():
            yield piece
            piece = self._inner.process(b"", output_buffer_limit=STEP)

    @property
    def finished(self) -> bool:
        return bool(self._inner.is_finished())


class _Zstd:
    def __init__(self) -> None:
        self._inner = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW})

    def decode(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        if self._inner.eof:
            raise ValueError("data behind the end")
        yield self._inner.decompress(data, STEP)
        while not self._inner.needs_input and not self._inner.eof:
            yield self._inner.decompress(b"", STEP)

    @property
    def finished(self) -> bool:
        return self._inner.eof and not self._inner.unused_data


_DECODERS: Final[Mapping[str, Callable[[], Decoder]]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "br": _Brotli,
    "zstd": _Zstd,
}
_BROKEN: Final[tuple[type[Exception], ...]] = (ValueError, EOFError, zlib.error, brotli.error, zstd.ZstdError)


class Decoded:
    """A body that is decoded piece by piece, at most ``limit`` bytes of it."""

    def __init__(self, decoder: Decoder, limit: int) -> None:
        self._decoder = decoder
        self._limit = limit
        self._taken = 0
        self._made = 0

    def feed(self, data: bytes) -> bytes:
        """The output of the next bytes. Raises ``HttpError``: 413 past a bound, 400 for bytes that are not of this coding."""
        self._taken += len(data)
        pieces = []
        try:
            for piece in self._decoder.decode(data):
                self._made += len(piece)
                self._check()
                pieces.append(piece)
        except _BROKEN:
            raise _broken() from None
        return b"".join(pieces)

    def end(self) -> None:
        """Raises ``HttpError`` 400 where the data is not whole, or more than one."""
        if not self._decoder.finished:
            raise _broken()

    def _check(self) -> None:
        if self._made > self._limit:
            raise too_large(self._limit)
        if self._made > _FREE and self._made > MAX_RATIO * self._taken:
            message = f"the body grows more than {MAX_RATIO} times when it is decompressed"
            raise HttpError(413, "compression_ratio", message, headers={"Connection": "close"})


def decoded(encoding: str, limit: int) -> Decoded | None:
    """What undoes ``encoding``, a Content-Encoding; None where there is nothing to undo. Raises ``HttpError`` 415 for others."""
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        return None
    make: Any = _DECODERS.get(coding)
    if make is None:
        accepted = ", ".join(name for name in _DECODERS if name != "x-gzip")
        message = f"of the content encodings only {accepted} are read, one at a time"
        raise HttpError(415, "content_encoding", message, headers={"Accept-Encoding": accepted, "Connection": "close"})
    return Decoded(make(), limit)


def too_large(limit: int) -> HttpError:
    # the rest of the body is not read, so the connection can't be used again
    return HttpError(413, "too_large", f"the body is larger than {limit} bytes", headers={"Connection": "close"})


def _broken() -> HttpError:
    message = "the body is not whole data of its content encoding"
    return HttpError(400, "content_encoding", message, headers={"Connection": "close"})
