"""The web server as one process: gunicorn's gevent worker, without the process that would start and watch it.

`python -m web.serve` takes gunicorn's own command line. Who starts it starts it again, as `plainfilm up` and Compose
do; for several processes there is gunicorn itself. A loop that no longer turns is ended here (DECISIONS 49).
"""

from __future__ import annotations

import faulthandler
import os

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.sock import create_sockets
from gunicorn.workers.ggevent import GeventWorker

from shared.exits import end_plainly


class WatchedWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's worker, ended by a thread of the interpreter's own where its loop hangs for `timeout` seconds."""

    def notify(self) -> None:
        """Called by the loop each second: set the clock anew. Before it ends the process it writes all stacks."""
        super().notify()
        faulthandler.dump_traceback_later(self.timeout, exit=True)


class OneProcess(WSGIApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's command, which becomes its own worker."""

    def run(self) -> None:
        """Serve until SIGTERM; then answer what was asked before."""
        log = self.cfg.logger_class(self.cfg)
        sockets = create_sockets(self.cfg, log)
        worker = WatchedWorker(1, os.getppid(), sockets, self, self.cfg.timeout, self.cfg, log)
        worker.pid = os.getpid()
        worker.init_process()


if __name__ == "__main__":
    end_plainly(OneProcess("%(prog)s [OPTIONS] [APP_MODULE]").run, "web")
