"""A network that can be made to lie."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable


class Network:
    """A way to `address` that passes everything on, until it lies.

    A connection on which something is sent for which `stalls` holds is silent from then on. All that there are
    fall silent by `hush`; none is closed by either. While it `refuses`, connections end at once.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.stalls: Callable[[bytes], bool] = lambda _: False
        self.refuses = False
        self.asked: list[bytes] = []
        """The first line of each request that came."""
        self._silent: set[socket.socket] = set()
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def hush(self) -> None:
        """Let nothing more through on the connections that are open now."""
        self._silent.update(self._open)

    def lead(self, address: tuple[str, int]) -> None:
        """Lead new connections to another address."""
        self._address = address

    def close(self) -> None:
        """End all."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                if self.refuses:
                    near.close()
                    continue
            except OSError:
                return
            try:
                far = socket.create_connection(self._address)
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        try:
            while data := source.recv(65536):
                if up:
                    self.asked.append(data.partition(b"\r\n")[0])
                    if self.stalls(data):
                        self._silent.update((source, target))
                if source not in self._silent:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            target.close()


def is_handshake(data: bytes) -> bool:
    """Whether a websocket is asked for."""
    return b"upgrade: websocket" in data.lower()
