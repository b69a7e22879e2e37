"""The wire: what all requests, answers, errors and probes have in common."""

import asyncio
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json

from service.errors import AnswerTooLargeError
from service.settings import MAX_TIMEOUT_MS

MOST_FIELDS = 50

MOST_BYTES = 64 << 20
"""Size of the answer to a search or to a batch of searches."""

_AT_ONCE_BYTES = 1 << 18
"""Written between two turns of the event loop: about a millisecond's work."""

REQUEST_ID = "6f1f6a0f0f5d4c0c8f6f3b1c2d7e9a55"
"""An example."""

RequestId = Annotated[
    str, Field(description="That of the header `X-Request-ID`.", examples=[REQUEST_ID])
]
TimeoutMs = Annotated[int | None, Field(ge=1, le=MAX_TIMEOUT_MS)]

CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "not_available",
    410: "cursor_expired",
    412: "precondition_failed",
    413: "body_too_large",
    415: "unsupported_media_type",
    421: "misdirected_request",
    422: "invalid_request",
    429: "overloaded",
    431: "head_too_large",
    500: "internal",
    501: "not_implemented",
    503: "not_ready",
    504: "deadline_exceeded",
    505: "version_not_supported",
    507: "disk_full",
}
"""The `code` of an error by its status, unless the table of errors has another one."""

CONFLICT, STORE_FAILED, OTHER = "conflict", "store_failed", "error"
"""Codes that no status has by itself; `error` is for a status without a code."""

COMPONENT = "x-component"


def component(name: str) -> dict[str, Any]:
    """Refers to a schema of OpenAPI's components that has no model of its own.

    Pydantic refuses a `$ref` that it did not make, so `service.api.openapi` replaces this by one.
    """
    return {COMPONENT: name}


def whole(value: Any) -> Any:
    """An integer for a whole number: in JSON Schema, `10.0` is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class RequestBody(BaseModel):
    """A request's body: unknown fields are refused, and no type is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _limit_fields_and_read_whole_numbers(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if len(value) > MOST_FIELDS:
            raise ValueError(f"a request has at most {MOST_FIELDS} fields")
        integers = _integer_fields(cls)
        return {name: whole(x) if name in integers else x for name, x in value.items()}


@cache
def _integer_fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if int in {field.annotation, *get_args(field.annotation)}
    )


class ErrorDetail(BaseModel):
    """One wrong field."""

    field: str = Field(description="Where, as a dotted path.", examples=["top_k"])
    message: str = Field(
        description="What is wrong, with the limit.",
        examples=["Input should be less than or equal to 100"],
    )


class ErrorContent(BaseModel):
    """The content of the error envelope."""

    code: str = Field(
        description="For programs; never changes.",
        examples=["invalid_request"],
        json_schema_extra={"enum": [*sorted({*CODES.values(), CONFLICT, STORE_FAILED, OTHER})]},
    )
    message: str = Field(description="For people.")
    request_id: str = Field(description="That of the header `X-Request-ID`; the log has it.")
    details: list[ErrorDetail] | None = Field(None, description="The first 20 wrong fields.")


class ErrorBody(BaseModel):
    """Every error, on every path."""

    error: ErrorContent = Field(description="What went wrong.")
    detail: str | None = Field(
        None, description="The same in words, where a route has another service's format."
    )


class LiveBody(BaseModel):
    """The process is up."""

    status: Literal["ok"] = Field("ok", description="Always `ok`.")


class ReadyBody(BaseModel):
    """What is ready and what is not."""

    status: Literal["ready", "not_ready"] = Field(description="`ready` when all checks are `ok`.")
    checks: dict[str, str] = Field(
        description="`ok` or what is wrong, per part.", examples=[{"models": "ok", "index": "ok"}]
    )
    documents: int | None = Field(None, description="Documents in the index.", examples=[1434])
    passages: int | None = Field(None, description="Passages in the index.", examples=[5120])
    backends: dict[str, str] = Field(
        default_factory=dict,
        description="What runs the encoder for queries and for passages, where there is a choice.",
        examples=[{"queries": "torch-bf16", "passages": "torch-bf16"}],
    )
    notes: list[str] = Field(default_factory=list, description="Notes, such as a rebuilt index.")


class VersionBody(BaseModel):
    """What runs here."""

    version: str = Field(description="Version of the service.", examples=["0.1.0"])
    python: str = Field(description="Version of Python.", examples=["3.13.1"])
    torch: str = Field(description="Version and build of torch.", examples=["2.13.0+cpu"])


def server_timing(timings_ms: Mapping[str, float]) -> str:
    """The header `Server-Timing` for stages and their milliseconds."""
    return ", ".join(f"{stage};dur={milliseconds}" for stage, milliseconds in timings_ms.items())


def as_json(value: object) -> bytes:
    """What a model would write, of plain values and dataclasses, without checking them again."""
    return to_json(value, inf_nan_mode="null")


async def written(
    whole: bytes, field: str, rows: Iterable[bytes], most: int = sys.maxsize
) -> bytes:
    """`whole` with `rows` in its empty list `field`; all of it is JSON. As `joined`."""
    before, mark, after = whole.partition(f'"{field}":['.encode())
    return before + mark + await joined(rows, most) + after


async def joined(rows: Iterable[bytes], most: int = sys.maxsize) -> bytes:
    """The rows with commas in between.

    Written piece by piece, so that other requests get their turn. Raises `AnswerTooLargeError`
    above `most` bytes.
    """
    pieces: list[bytes] = []
    total = since = 0
    for piece in rows:
        pieces.append(piece)
        total += len(piece)
        since += len(piece)
        if total > most:
            raise AnswerTooLargeError(MOST_BYTES)
        if since > _AT_ONCE_BYTES:
            since = 0
            await asyncio.sleep(0)
    return b",".join(pieces)
