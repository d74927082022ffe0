"""Asks a broker who is in the cluster, over a bare socket.

This layer must not import a Kafka client, and one question is enough: a Metadata request (version 1, no topics) is
answered with the brokers that are alive and unfenced, so a broker that lists itself accepts produce requests.
Layout: https://kafka.apache.org/protocol (request header v1; Metadata v1).
"""

import socket
import struct

from headrace.local.ports import HOST

_METADATA, _VERSION, _CORRELATION = 3, 1, 7
_CLIENT_ID = b"headrace"
_REQUEST = struct.pack(">hhih", _METADATA, _VERSION, _CORRELATION, len(_CLIENT_ID)) + _CLIENT_ID + struct.pack(">i", 0)
_LARGEST_ANSWER = 1_000_000


def live_brokers(port: int, timeout: float = 1.0) -> set[int]:
    """The node ids that the broker on this port holds for alive; empty when it does not answer (properly)."""
    try:
        with socket.create_connection((HOST, port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
            (size,) = struct.unpack(">i", _read(connection, 4))
            if not 0 < size < _LARGEST_ANSWER:
                return set()
            return _node_ids(_read(connection, size))
    except (OSError, struct.error, ValueError):
        return set()


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise ValueError("connection closed within an answer")
        data += chunk
    return data


def _node_ids(answer: bytes) -> set[int]:
    correlation, count = struct.unpack_from(">ii", answer, 0)
    if correlation != _CORRELATION:
        raise ValueError("answer to another request")
    offset, nodes = 8, set()
    for _ in range(count):
        node, host_size = struct.unpack_from(">ih", answer, offset)
        offset += 6 + host_size + 4  # host, then the port
        (rack_size,) = struct.unpack_from(">h", answer, offset)
        offset += 2 + max(rack_size, 0)
        nodes.add(node)
    return nodes
