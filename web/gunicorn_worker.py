"""gunicorn's gevent worker as we run it: a timeout on sending, and problem details for requests it cannot parse.

`web/run.py` gives gunicorn the name of `PlainWorker`; `web/serve.py` runs `WatchedWorker` where one process is enough.

This module and `web/slow_readers.py` are imported before gevent patches the process, so all other modules of ours are
imported inside functions: what they import must be patched already.
"""

from __future__ import annotations

import faulthandler
import os
import secrets
import signal
import socket
from contextlib import suppress
from typing import Final

from gunicorn.util import write_nonblock
from gunicorn.workers.ggevent import GeventWorker

from web.slow_readers import TimedSocket, limit_unsent_bytes

DRAIN_S: Final = 1.0
DRAINED_BYTES: Final = 2**20
READ_BYTES: Final = 2**16


class PlainWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's gevent worker with a timeout on sending and our own form of refusals."""

    def handle(self, listener: object, client: socket.socket, addr: object) -> None:
        """Answer all requests of one connection."""
        limit_unsent_bytes(client)
        super().handle(listener, client, addr)

    def handle_request(self, listener_name: object, req: object, sock: socket.socket, addr: object) -> None:
        """Answer one request; log an answer that the client did not take in time."""
        try:
            super().handle_request(listener_name, req, TimedSocket(sock), addr)
        except BrokenPipeError as error:
            if isinstance(error.__cause__, TimeoutError):
                from shared.log import get_logger  # noqa: PLC0415

                get_logger(__name__).info("answer.not_taken")
            raise

    def handle_error(self, _request: object, client: socket.socket, _address: object, error: BaseException) -> None:
        """Answer a request that could not be parsed or handled; gunicorn closes the connection afterwards."""
        from shared.log import bind_request, get_logger  # noqa: PLC0415
        from web import refusals  # noqa: PLC0415

        request_id = secrets.token_hex(8)
        bind_request(request_id)  # else the log line would carry the id of the connection's previous request
        response = refusals.refuse(error, request_id)
        try:
            write_nonblock(client, response)
        except OSError:
            get_logger(__name__).info("request.unanswered", kind=type(error).__name__)
            return
        with suppress(OSError):
            drain(client)


class WatchedWorker(PlainWorker):
    """A worker without a master process: a watchdog ends the process where its event loop hangs for `timeout` seconds.

    The watchdog is faulthandler's thread, which does not need the GIL. It writes all stacks and exits with status 1.
    """

    def notify(self) -> None:
        """Restart the watchdog; the event loop calls this once a second."""
        self.ppid = os.getppid()  # gunicorn would end an orphan; `die_with_parent` ends those that must not outlive us
        super().notify()
        self.restart_watchdog()

    def restart_watchdog(self) -> None:
        """Set the watchdog to `timeout` seconds from now."""
        faulthandler.dump_traceback_later(self.timeout, exit=True)

    def init_signals(self) -> None:
        """Install gunicorn's handlers, end on SIGHUP, and ignore the signals that only a master process handles."""
        is_without_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # nohup
        super().init_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN if is_without_terminal else self.handle_exit)
        for number in (signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)


def drain(client: socket.socket) -> None:
    """Shut down sending and read up to 1 MiB of the request: closing with unread data would reset the connection.

    The client would then lose the answer that it has not read yet.

    Raises:
        OSError: the connection is gone.
    """
    client.shutdown(socket.SHUT_WR)
    client.settimeout(DRAIN_S)
    for _ in range(DRAINED_BYTES // READ_BYTES):
        if not client.recv(READ_BYTES):
            break
