"""The wire: what all requests, errors and probes are like. Names that stay."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_FIELDS = 50


class RequestBody(BaseModel):
    """What a client sends: unknown fields are refused, and no type is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _at_most_fields(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > MOST_FIELDS:
            raise ValueError(f"a request has at most {MOST_FIELDS} fields")
        return value


class ErrorDetail(BaseModel):
    """One thing that is wrong."""

    field: str = Field(description="Where, as a dotted path.", examples=["top_k"])
    message: str = Field(
        description="What is wrong, with the limit.",
        examples=["Input should be less than or equal to 100"],
    )


class ErrorContent(BaseModel):
    """The content of the one error envelope."""

    code: str = Field(description="For programs; stays.", examples=["invalid_request"])
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
    documents: int | None = Field(None, description="Documents in the index.")
    passages: int | None = Field(None, description="Passages in the index.")
    notes: list[str] = Field(
        default_factory=list, description="What an operator should know, such as a rebuilt index."
    )
