"""The web server as one process: gunicorn's gevent worker, without the process that would start and watch it.

`python -m web.serve` takes gunicorn's own command line and those hooks that a worker has. Who starts it starts it
again, as `plainfilm up` and Compose do; for several processes there is gunicorn itself (DECISIONS 49).
"""

from __future__ import annotations

import faulthandler
import os
import signal

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.sock import create_sockets

from shared.exits import end_plainly
from web.refusals import PlainWorker


class WatchedWorker(PlainWorker):
    """gunicorn's worker, ended by a thread of the interpreter's own where its loop hangs for `timeout` seconds.

    That thread needs no lock of the interpreter, and writes all stacks before it ends the process with status 1.
    """

    def notify(self) -> None:
        """Called by the loop each second: set the clock anew."""
        self.ppid = os.getppid()  # who started us by hand may leave; what must not, `die_with_parent` sees to
        super().notify()
        self.wind_up()

    def wind_up(self) -> None:
        """From now on `timeout` seconds are left."""
        faulthandler.dump_traceback_later(self.timeout, exit=True)

    def init_signals(self) -> None:
        """As gunicorn's, and those that its watching process would take: none of them stops or kills this one."""
        is_without_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # nohup
        super().init_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN if is_without_terminal else self.handle_exit)
        for number in (signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)


class OneProcess(WSGIApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's command, which becomes its own worker."""

    def run(self) -> None:
        """Serve until SIGTERM; then answer what was asked before."""
        log = self.cfg.logger_class(self.cfg)
        sockets = create_sockets(self.cfg, log)
        worker = WatchedWorker(1, os.getppid(), sockets, self, self.cfg.timeout, self.cfg, log)
        worker.pid = os.getpid()
        worker.wind_up()
        worker.init_process()


if __name__ == "__main__":
    end_plainly(OneProcess("%(prog)s [OPTIONS] [APP_MODULE]").run, "web")
