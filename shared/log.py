"""Structured logging: one JSON object a line on stderr. Events, not sentences; never pixels, names or free text."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Let an optional import of `module` fail meanwhile, unless it is loaded already."""
    loaded = cast("dict[str, Any]", sys.modules)  # Any: None there stops an import
    if module in loaded:
        yield
        return
    loaded[module] = None
    try:
        yield
    finally:
        del loaded[module]


with _hidden("rich"):  # what structlog prints on terminals by it is never printed here; it takes 5 MB of each process
    import structlog

from structlog.typing import EventDict, Processor  # noqa: E402  see above

from shared.errors import AppError  # noqa: E402

SHARED_PROCESSORS: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
)

QUIET = ("alembic", "celery.app.trace", "celery.worker.strategy")
"""Libraries' loggers that would say what ours do: at each start, and twice for each film."""


@contextmanager
def logging_faults(log: structlog.stdlib.BoundLogger, event: str) -> Iterator[None]:
    """For a turn of a loop, which goes on whatever fails in it: known errors are warnings, others have their trace."""
    try:
        yield
    except AppError as error:
        log.warning(event, code=error.code, why=error.facts.get("why") or error.detail)
    except Exception:
        log.exception(event)


def set_up_logging(level: str, process: str) -> None:
    """Send everything, the libraries' records included, to stderr as JSON lines that carry `process`.

    Args:
        level: 'DEBUG', 'INFO', 'WARNING' or 'ERROR'.
        process: the part's name, e.g. 'web' or 'worker'.
    """

    def name_process(_logger: object, _method: str, event: EventDict) -> EventDict:
        return {"process": process, **event}

    structlog.configure(
        processors=[*SHARED_PROCESSORS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED_PROCESSORS,
            processors=[
                name_process,  # not bound by context: a new thread has none
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel("WARNING")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module; bind ids to it, never content."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def bind_request(request_id: str, trace_id: str | None = None) -> None:
    """Give every later log line of this request its id, and that of the trace it is part of."""
    structlog.contextvars.unbind_contextvars("trace_id")  # of the connection's last request
    traced = {} if trace_id is None else {"trace_id": trace_id}
    structlog.contextvars.bind_contextvars(request_id=request_id, **traced)
