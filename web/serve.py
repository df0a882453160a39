"""The web server as one process: gunicorn's gevent worker, without the process that would start and watch it.

`python -m web.serve` takes gunicorn's own command line and those hooks that a worker has. Who starts it starts it
again, as `plainfilm up` and Compose do; for several processes there is gunicorn itself (DECISIONS 49).
"""

from __future__ import annotations

import os

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.sock import create_sockets

from shared.exits import end_plainly
from web.gunicorn_worker import WatchedWorker


class OneProcess(WSGIApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's command line, whose process becomes the worker itself."""

    def run(self) -> None:
        """Serve until SIGTERM; then finish the requests that were accepted before."""
        log = self.cfg.logger_class(self.cfg)
        sockets = create_sockets(self.cfg, log)
        worker = WatchedWorker(1, os.getppid(), sockets, self, self.cfg.timeout, self.cfg, log)
        worker.pid = os.getpid()
        worker.restart_watchdog()
        worker.init_process()


if __name__ == "__main__":
    end_plainly(OneProcess("%(prog)s [OPTIONS] [APP_MODULE]").run, "web")
