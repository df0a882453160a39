"""The WSGI application that gunicorn imports; built in the worker process after gevent has patched it."""

import gc
import signal
import threading
from types import FrameType

from shared.log import get_logger, set_up_logging
from shared.processes import keep_freed_memory
from shared.settings import load_settings
from shared.version import CODE_VERSION
from shared.wiring import build_resources
from web.app import WAITING_ROOM, create_app
from web.film_folder_opening import open_film_folder

keep_freed_memory()
settings = load_settings()
set_up_logging(settings.log_level, "web")
resources = build_resources(settings)
resources.decoder.start()  # its process starts while this one builds the application
app = create_app(resources)
get_logger(__name__).info("web.started", version=CODE_VERSION, listens_at=settings.listens_at)
gc.freeze()  # these objects stay for good: the garbage collector need not scan them
threading.Thread(target=open_film_folder, args=(resources,), name="films", daemon=True).start()
end_in_order = signal.getsignal(signal.SIGTERM)


def end(number: int, frame: FrameType | None) -> None:
    """Release the waiting requests within a second; gunicorn would wait for them up to its graceful timeout."""
    app.extensions[WAITING_ROOM].is_ending = True
    if callable(end_in_order):
        end_in_order(number, frame)


signal.signal(signal.SIGTERM, end)
