"""How two processes of one server hand each other open connections.

Between the owner of the data folder and each reader there is one socket pair. What is sent over it
are the file descriptors of connections (`SCM_RIGHTS`): clients' from the owner to a reader, and
from either one the far end of a new pair, over which it asks the other by HTTP. So there is no
address that anybody else could connect to, and where one process ends the other sees it at once.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)

_CONNECTION, _READY, _ASK, _ANSWER = b"c", b"r", b"a", b"b"
_ASK_AGAIN_S = 2.0
_TOGETHER = 64


class Channel:
    """This process's end of the socket pair. Used from one event loop."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._answered = asyncio.Event()
        self.silent = False
        """Whether the other process was asked for its `pulse` and has let some seconds pass."""

    def listen(
        self,
        on_connection: Callable[[socket.socket], None],
        on_end: Callable[[], None],
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Call back for each connection, for `tell_ready`, and once the other one has ended."""
        loop = asyncio.get_running_loop()

        def receive() -> None:
            try:
                data, descriptors, _flags, _address = socket.recv_fds(
                    self._end, _TOGETHER, _TOGETHER
                )
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if _CONNECTION in data and not descriptors:
                log.error("a connection is lost: there is no file descriptor left for it")
            for descriptor in descriptors:
                on_connection(socket.socket(fileno=descriptor))
            if _READY in data:
                on_ready()
            if _ASK in data:
                self._send(_ANSWER)
            if _ANSWER in data:
                self.silent = False
                self._answered.set()
            if not data:
                loop.remove_reader(self._end)
                on_end()

        loop.add_reader(self._end, receive)

    def tell_ready(self) -> None:
        """Say that connections may come."""
        self._send(_READY)

    async def pulse(self) -> None:
        """Wait until the other process's event loop shows that it runs. Both have to `listen`."""
        self._answered.clear()
        while not self._answered.is_set():
            self._send(_ASK)
            try:
                await asyncio.wait_for(self._answered.wait(), _ASK_AGAIN_S)
            except TimeoutError:
                self.silent = True

    def hand_over(self, connection: socket.socket) -> bool:
        """Let the other process have a connection; False where it cannot take it now.

        This process has to close its own copy then.
        """
        try:
            socket.send_fds(self._end, [_CONNECTION], [connection.fileno()])
        except OSError:  # it has ended, or too many wait for it
            return False
        return True

    def connect(self) -> socket.socket:
        """A new connection to the other process. Raises `ConnectionError`."""
        ours, theirs = socket.socketpair()
        with theirs:
            if not self.hand_over(theirs):
                ours.close()
                raise ConnectionError("the other process does not answer")
        ours.setblocking(False)
        return ours

    def let_go(self) -> None:
        """Tell the other one to end; what it asks is still answered."""
        try:
            self._end.shutdown(socket.SHUT_WR)
        except OSError:
            log.debug("the other process has ended already")

    def _send(self, message: bytes) -> None:
        # Where the other one has ended, `on_end` says so; where too much waits for it, it is asked
        # again.
        with suppress(OSError):
            self._end.send(message)

    def close(self) -> None:
        """Close this end."""
        asyncio.get_running_loop().remove_reader(self._end)
        self._end.close()
