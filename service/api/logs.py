"""Log lines, as text or as JSON, and the id and the line of each request."""

import json
import logging
import re
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from service.settings import Settings

log = logging.getLogger(__name__)

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_IN_MESSAGE = ("method", "route", "status", "ms", "request_id")
"""The fields of a request that its message has, in this order."""


class TextFormatter(logging.Formatter):
    """A line for people; the fields that the message does not have follow it as `name=value`."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        fields = getattr(record, "fields", {})
        shown = {name: value for name, value in fields.items() if name not in _IN_MESSAGE}
        stages = shown.pop("stages_ms", None) or {}
        shown |= {f"{stage}_ms": value for stage, value in stages.items()}
        more = [f"{name}={value}" for name, value in shown.items()]
        return " ".join([super().formatMessage(record), *more])


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what a caller gives as `extra={"fields": ...}` are its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(settings: Settings) -> None:
    """Write log lines to standard error, as the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    as_json = settings.log_format == "json"
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    # Its messages about loading look like errors.
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)


def request_id_for(scope: Scope) -> str:
    """The caller's id if it is well formed, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def log_request(fields: Mapping[str, Any]) -> None:
    """Write a request's line. It never holds content: no query, no path as it was sent."""
    if log.isEnabledFor(logging.INFO):
        known = {name: value for name, value in fields.items() if value is not None}
        words = (known[name] for name in _IN_MESSAGE)
        log.info("%s %s %d %.1f ms %s", *words, extra={"fields": known})


def stage_times(server_timing: str) -> dict[str, float]:
    """The milliseconds in our own header `Server-Timing`, by stage."""
    stages = (stage.partition(";dur=") for stage in server_timing.split(", "))
    return {name: float(milliseconds) for name, _, milliseconds in stages}
