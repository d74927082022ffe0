"""The process that runs jq programs. It is started as a file by ``jail``, isolated and without site-packages, and
imports nothing of headrace.

Arguments: the file of the jq extension, and the bytes of memory that it may have. It reads requests from stdin and
answers on stdout, one after the other, until stdin ends. A request is a header (``REQUEST``) and then the program and
the document, both JSON texts or UTF-8; an answer is a header (``ANSWER``: status, length) and a text: the JSON list of
what the program gave, or why it gave nothing.

Before the first request it gives up the right to open anything: with no file descriptor left to give, ``import``,
``input`` and whatever a bug in the parser might try end there. CPU time is limited anew for each request; the kernel
ends a process that overruns.
"""

import json
import os
import resource
import struct
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

REQUEST = struct.Struct(">IQIQ")  # bytes of the program, bytes of the document, seconds of CPU, bytes of output
ANSWER = struct.Struct(">BQ")  # status, bytes of the text
DONE, FAILED, TOO_LARGE, OUT_OF_MEMORY = range(4)
_MAX_REASON = 500  # bytes


def main() -> None:
    os.environ.clear()  # Python puts a locale of its own there
    jq = _loaded(sys.argv[1])
    jq.compile(".").input_text("null").all()  # whatever it does once is done now
    _confine(int(sys.argv[2]))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while header := source.read(REQUEST.size):
        program_length, document_length, cpu_s, max_output = REQUEST.unpack(header)
        program, document = source.read(program_length).decode(), source.read(document_length).decode()
        _allow_cpu(cpu_s)
        status, text = _answer(jq, program, document, max_output)
        del document
        sink.write(ANSWER.pack(status, len(text)))
        sink.write(text)
        sink.flush()


def _answer(jq: ModuleType, program: str, document: str, max_output: int) -> tuple[int, bytes]:
    pieces: list[bytes] = []
    room = max_output
    try:
        for value in jq.compile(program).input_text(document):
            piece = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            room -= len(piece) + 1
            if room < 0:
                return TOO_LARGE, b""
            pieces.append(piece)
    except MemoryError:
        return OUT_OF_MEMORY, b""
    except (ValueError, RecursionError) as error:
        return FAILED, str(error).encode("utf-8", "replace")[:_MAX_REASON]
    return DONE, b"[" + b",".join(pieces) + b"]"


def _loaded(path: str) -> ModuleType:
    spec = spec_from_file_location("jq", path, loader=ExtensionFileLoader("jq", path))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _confine(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # stdin, stdout and stderr are there; nothing more can be


def _allow_cpu(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


if __name__ == "__main__":
    main()
