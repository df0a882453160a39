"""Structured logging: one JSON object a line on stderr. Events, not sentences; never pixels, names or free text."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make optional imports of `module` fail inside the block, unless it is loaded already."""
    loaded = cast("dict[str, Any]", sys.modules)  # Any: None as a module makes its import fail
    if module in loaded:
        yield
        return
    loaded[module] = None
    try:
        yield
    finally:
        del loaded[module]


with _hidden("rich"):  # structlog uses it for terminals only; it takes 5 MB of each process
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

QUIET_LOGGERS = ("alembic", "celery.app.trace", "celery.worker.strategy")
"""Libraries' loggers that would repeat our own lines, at each start or twice for each film."""


@contextmanager
def logging_faults(log: structlog.stdlib.BoundLogger, event: str) -> Iterator[None]:
    """Log whatever fails in one turn of a loop, which then goes on: known errors as warnings, others with traceback."""
    try:
        yield
    except AppError as error:
        log.warning(event, code=error.code, why=error.facts.get("why") or error.detail)
    except Exception:
        log.exception(event)


def set_up_logging(level: str, process: str) -> None:
    """Send all records, the libraries' included, to stderr as JSON lines with the field `process`.

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
                name_process,  # not a context variable: a new thread starts without them
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel("WARNING")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; bind ids to it, never content."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def bind_request(request_id: str, trace_id: str | None = None) -> None:
    """Add the request's id, and its trace's where it has one, to all later log lines of this request."""
    structlog.contextvars.unbind_contextvars("trace_id")  # of the connection's previous request
    trace_fields = {} if trace_id is None else {"trace_id": trace_id}
    structlog.contextvars.bind_contextvars(request_id=request_id, **trace_fields)
