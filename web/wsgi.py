"""What gunicorn imports; built in the worker process, after gevent has patched it."""

from shared.log import set_up_logging
from shared.settings import load_settings
from shared.wiring import build_resources
from web.app import create_app

settings = load_settings()
set_up_logging(settings.log_level, "web")
app = create_app(build_resources(settings))
