"""The wire: what all requests, errors and probes are like. Names that stay."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

MOST_FIELDS = 50

REQUEST_ID = "6f1f6a0f0f5d4c0c8f6f3b1c2d7e9a55"
"""An example."""

RequestId = Annotated[
    str, Field(description="That of the header `X-Request-ID`.", examples=[REQUEST_ID])
]

ErrorCode = Literal[
    "bad_request",
    "body_too_large",
    "conflict",
    "deadline_exceeded",
    "disk_full",
    "error",
    "head_too_large",
    "internal",
    "invalid_request",
    "method_not_allowed",
    "misdirected_request",
    "not_available",
    "not_found",
    "not_implemented",
    "not_ready",
    "overloaded",
    "precondition_failed",
    "request_timeout",
    "store_failed",
    "unauthorized",
    "unsupported_media_type",
    "version_not_supported",
]
"""Every `code` of the error envelope; `error` where a status has no word of its own."""


COMPONENT = "x-component"


def component(name: str) -> dict[str, Any]:
    """Refers to a schema of OpenAPI's components that has no model of its own.

    Pydantic refuses a `$ref` that it has not made; `service.api.openapi` makes one of this.
    """
    return {COMPONENT: name}


def whole(value: Any) -> Any:
    """A number as JSON Schema has it: `10.0` is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class RequestBody(BaseModel):
    """What a client sends: unknown fields are refused, and no type is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        fields = cls.model_fields
        return {
            name: whole(given) if name in fields and _is_integer(fields[name]) else given
            for name, given in value.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _at_most_fields(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > MOST_FIELDS:
            raise ValueError(f"a request has at most {MOST_FIELDS} fields")
        return value


def _is_integer(field: FieldInfo) -> bool:
    return int in {field.annotation, *get_args(field.annotation)}


class ErrorDetail(BaseModel):
    """One thing that is wrong."""

    field: str = Field(description="Where, as a dotted path.", examples=["top_k"])
    message: str = Field(
        description="What is wrong, with the limit.",
        examples=["Input should be less than or equal to 100"],
    )


class ErrorContent(BaseModel):
    """The content of the one error envelope."""

    code: ErrorCode = Field(description="For programs; stays.", examples=["invalid_request"])
    message: str = Field(description="For people.")
    request_id: str = Field(description="That of the header `X-Request-ID`; the log has it.")
    details: list[ErrorDetail] | None = Field(None, description="The first 20 wrong fields.")


class ErrorBody(BaseModel):
    """Every error, on every path."""

    error: ErrorContent = Field(description="What went wrong.")


class LiveBody(BaseModel):
    """The process is up."""

    status: Literal["ok"] = Field("ok", description="Always `ok`.")


class ReadyBody(BaseModel):
    """What is ready and what is not."""

    status: Literal["ready", "not_ready"] = Field(description="`ready` when all checks are `ok`.")
    checks: dict[str, str] = Field(
        description="`ok`, or what is wrong, per part.",
        examples=[{"models": "ok", "index": "ok"}],
    )
    documents: int | None = Field(None, description="Documents in the index.", examples=[1434])
    passages: int | None = Field(None, description="Passages in the index.", examples=[5120])
    notes: list[str] = Field(
        default_factory=list, description="What an operator should know, such as a rebuilt index."
    )
