"""TLS in front of a plain local port, as a hospital's reverse proxy would do it.

Debian's Orthanc 1.10.1 ends with a segmentation fault at the first connection to its own HTTPS
port, so the tests put this in front of its HTTP port.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class _Front(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self.context = context
        self.behind = ("127.0.0.1", port)
        super().__init__(("127.0.0.1", 0), _Connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust us hangs up; that is its right."""


class _Connection(socketserver.BaseRequestHandler):
    server: _Front

    def handle(self) -> None:
        with (
            self.server.context.wrap_socket(self.request, server_side=True) as outside,
            socket.create_connection(self.server.behind, 30) as inside,
        ):
            for end in (inside, outside):
                end.settimeout(30)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=_pump, args=(inside, outside), daemon=True)
            thread.start()
            _pump(outside, inside)
            thread.join(30)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError, ValueError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError, ValueError):
        target.shutdown(
            socket.SHUT_WR if not isinstance(target, ssl.SSLSocket) else socket.SHUT_RDWR
        )


@contextmanager
def tls_front(certificate: tuple[Path, Path], port: int) -> Iterator[int]:
    """Serves ``port`` by TLS on another port, which is returned."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with _Front(context, port) as front:
        thread = threading.Thread(target=front.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield front.server_address[1]
        finally:
            front.shutdown()
            thread.join(10)
