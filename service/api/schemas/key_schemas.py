"""The wire of `/key`."""

from datetime import datetime

from pydantic import BaseModel, Field

from service.store.key_file import Scope


class KeyLimitsBody(BaseModel):
    """How much a key may ask for; null for no limit of its own."""

    rate: float | None = Field(description="Requests a second.", examples=[5.0])
    burst: int | None = Field(description="Most requests at once.", examples=[10])
    share: float | None = Field(description="The part of each queue it may fill.", examples=[0.5])


class KeyBody(BaseModel):
    """An API key, without the key itself."""

    name: str = Field(description="The client's name.", examples=["website"])
    scopes: list[Scope] = Field(description="What it allows.", examples=[["search"]])
    collections: list[str] | None = Field(
        description="Collections or aliases that it may use; null for all.", examples=[["main"]]
    )
    filtered: bool = Field(description="Whether it sees some documents only.", examples=[False])
    expires: datetime | None = Field(
        description="When it ends; null for never.", examples=["2027-03-01T12:00:00Z"]
    )
    limits: KeyLimitsBody


class CallerKeyBody(BaseModel):
    """The caller's key."""

    key: KeyBody | None = Field(description="Null on a server without keys.")
