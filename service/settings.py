"""Every setting, in one place: its default, limits, environment variable, flag and documentation.

This is the only module that reads the environment. `SECONDPASS_<NAME>` sets a field; the flag is
`--<name>` with dashes. `docs/configuration.md` is generated from here.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import InvalidInputError
from service.types import MAX_TEXT_CHARS, MAX_TITLE_CHARS, DocumentLimits

_PREFIX = "SECONDPASS_"

OTHER_VARIABLES = {
    "SECONDPASS_API_KEY": "the key of commands that ask a server",
    "SECONDPASS_DEMO": "`1`: the container puts the demo corpus into an empty data folder",
}
"""Variables with the prefix that are no settings."""

_OF_KUBERNETES = re.compile(r"SECONDPASS_(SERVICE_(HOST|PORT\w*)|PORT_\d+_\w+)")
"""What Kubernetes puts into each container's environment for a Service named `secondpass`."""


def _default_cache_dir() -> Path:
    return Path.home() / ".cache" / "secondpass"


class Settings(BaseSettings):
    """The settings of a server or a command."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, extra="ignore", frozen=True, populate_by_name=True
    )

    data_dir: Path = Field(
        Path("data"), description="Folder that holds the documents and the index."
    )
    host: str = Field("127.0.0.1", description="Address that the server listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the server listens on.")
    allow_anonymous: bool = Field(
        False,
        description="Serve without API keys on an address other than loopback, where everyone who "
        "reaches the port may read, write and delete.",
    )
    allowed_hosts: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        description="Names of this server, separated by commas, that the `Host` header may have "
        "where no API keys are set; IP addresses, `localhost` and `host` always may; `*`: any.",
    )
    max_connections: int = Field(
        512,
        ge=1,
        le=1_000_000,
        description="Open connections, at most; fewer where the limit on open files is too low. "
        "For one more, the connection that has been idle longest is closed.",
    )
    header_timeout_s: int = Field(
        10, ge=1, le=600, description="Longest time for a request's line and headers, in seconds."
    )
    keep_alive_timeout_s: int = Field(
        75,
        ge=1,
        le=3600,
        description="Longest time between two requests of one connection, in seconds; a proxy in "
        "front should close its idle connections sooner.",
    )
    shutdown_delay_s: float = Field(
        1.0,
        ge=0.0,
        le=300.0,
        description="Time between SIGTERM and the end of listening, in seconds; `/readyz` answers "
        "503 in it, so that a load balancer can turn away.",
    )
    shutdown_grace_s: int = Field(
        60,
        ge=0,
        le=3600,
        description="Longest time that requests under way get to finish after that, in seconds.",
    )

    encoder: str = Field(
        "e5-small", description="Bi-encoder: a registry name, a folder or a hub name."
    )
    reranker: str = Field(
        "interaction-v1",
        description="Reranker: a registry name, a folder or a hub name; or `none`.",
    )
    cache_dir: Path = Field(
        default_factory=_default_cache_dir,
        description="Folder for prepared models (about 600 MB for the default ones).",
    )
    hub_offline: bool = Field(
        False,
        validation_alias=AliasChoices("SECONDPASS_HUB_OFFLINE", "HF_HUB_OFFLINE"),
        description="Never ask the model hub; its cache folder is still read.",
    )
    query_prefix: str | None = Field(
        None, description="Prefix of every query, in place of the model's own."
    )
    passage_prefix: str | None = Field(
        None, description="Prefix of every passage, in place of the model's own."
    )
    embedding_dimensions: int | None = Field(
        None,
        ge=1,
        description="Dimensions of a vector: a Matryoshka size of the encoder; all by default.",
    )
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="CPU threads of a model; 0 for all cores.",
    )

    passage_tokens: int = Field(
        256, ge=16, le=8192, description="Longest passage in tokens; longer documents are chunked."
    )
    passage_overlap: int = Field(
        32, ge=0, le=4096, description="Tokens that neighbouring passages share, at most."
    )
    passages_per_document: int = Field(
        4, ge=1, le=1000, description="Candidates that one document may take up."
    )
    batch_tokens: int = Field(
        1024,
        ge=512,
        le=1_000_000,
        description="Tokens, padding counted, in one batch of a model; a GPU gains from more.",
    )
    rerank_max_length: int = Field(
        512, ge=32, le=8192, description="Tokens of a (query, passage) pair; the passage is cut."
    )
    rerank_weight: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Share of the reranker in the fused score, in place of the fitted one.",
    )
    rerank_cache_mb: int = Field(
        256,
        ge=0,
        le=100_000,
        description="Megabytes in which a reranker keeps passages it has read: an interaction "
        "reranker what it encoded, a cross-encoder their tokens.",
    )
    rerank_backend: Literal["auto", "torch", "torch-bf16", "onnx", "onnx-int8"] = Field(
        "auto",
        description="What runs a cross-encoder: `auto` is the one that `secondpass models prepare` "
        "chose on this CPU, or `torch`; the `onnx` ones need `secondpass[onnx]`.",
    )
    rerank_score_cache: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Scores that a cross-encoder keeps for pairs that come again; 0: none.",
    )
    rerank_window: int = Field(
        0,
        ge=0,
        le=8192,
        description="Tokens to which a cross-encoder cuts a longer passage, where it shares most "
        "with the query; 0: it reads the passage from its beginning.",
    )
    passage_states: bool = Field(
        True,
        description="Keep on the disk what the reranker reads of each passage, so that it need not "
        "be made during a search: token states for an interaction reranker (some 13 KB for 100 "
        "tokens), token ids for a cross-encoder (400 bytes).",
    )
    rerank_depth: int = Field(
        100,
        ge=0,
        le=1000,
        description="Candidates that are reranked, at most; others follow in stage one's order.",
    )
    search_mode: Literal["dense", "sparse", "hybrid"] = Field(
        "dense",
        description="How a search that names no `mode` finds passages: by vectors (`dense`), by "
        "words (`sparse`, BM25) or by both (`hybrid`).",
    )
    hybrid_fusion: Literal["rrf", "weighted"] = Field(
        "weighted",
        description="How the hybrid mode makes one order of two: by reciprocal ranks (`rrf`) or by "
        "`weighted` scores.",
    )
    hybrid_weight: float = Field(
        0.2, ge=0.0, le=1.0, description="Share of the words in the hybrid mode's order."
    )
    hnsw_threshold: int = Field(
        100_000, ge=1, description="Passages above which the index is HNSW instead of exact."
    )

    calibration: Path | None = Field(
        None, description="Calibration artifact, in place of the one shipped for the models."
    )
    confidence_high: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Probability from which a hit is `high`; not set: the calibration's, or 0.8.",
    )
    confidence_medium: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Probability from which a hit is `medium`; not set: the calibration's, or 0.5.",
    )

    pair_model: str = Field(
        "none",
        description="Bi-encoder that tells whether two queries mean the same: a folder from "
        "`secondpass train pair-contrastive`, or another model with `pair_threshold`; or `none`.",
    )
    pair_threshold: float | None = Field(
        None,
        ge=-1.0,
        le=1.0,
        allow_inf_nan=False,
        description="Cosine from which two queries mean the same, in place of the pair model's.",
    )
    answer_cache: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Answers kept for later queries that mean the same by the pair model; 0: none.",
    )
    answer_cache_ttl_s: int = Field(
        3600, ge=1, le=604_800, description="Longest time that an answer is kept, in seconds."
    )

    max_query_chars: int = Field(
        4000, ge=1, le=100_000, description="Longest query, in characters after cleaning."
    )
    max_document_chars: int = Field(
        MAX_TEXT_CHARS, ge=1, description="Longest document text, in characters."
    )
    max_title_chars: int = Field(
        MAX_TITLE_CHARS,
        ge=1,
        le=100_000,
        description="Longest title of a document, in characters.",
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Largest request body, in bytes.")
    max_documents_body_bytes: int = Field(
        67_108_864,
        ge=1024,
        description="Largest body of a request that brings documents, in bytes.",
    )
    max_bulk_bytes: int = Field(
        10_000_000_000, ge=1024, description="Largest bulk upload, in bytes."
    )
    max_queue: int = Field(
        256,
        ge=1,
        le=10_000,
        description="Searches under way or waiting, and as many comparisons, reads and writes of "
        "documents, each counted by itself; one more is answered 429. A client (its API key, else "
        "its address) may have a quarter.",
    )
    max_batch_queries: int = Field(
        64, ge=1, le=1000, description="Searches in one request to `/search/batch`."
    )
    max_reranks: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Of these, searches in the rerank or waiting for it; one more is answered 429. "
        "Of one client a quarter, the others of it wait. Not set: no limit of its own with an "
        "interaction reranker and `passage_states`, else 32.",
    )
    timeout_ms: int = Field(
        60_000,
        ge=1,
        le=600_000,
        description="Longest time for a search or comparison that names none, and for each read or "
        "write of documents.",
    )
    max_snapshot_bytes: int = Field(
        50_000_000_000, ge=1, description="Largest snapshot that is taken to restore, in bytes."
    )
    delete_reserve_bytes: int = Field(
        33_554_432,
        ge=0,
        description="Disk space that the data folder takes up for deletes, so that a full disk can "
        "be emptied, in bytes; at most an eighth of what is free at the first start.",
    )
    allowed_models: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        description="Models that a request may name for a new collection, besides the server's own "
        "and those of the registry that need no download: registry names, folders or hub names, "
        "separated by commas.",
    )
    api_key_hashes: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        description="SHA-256 of each accepted API key, separated by commas; none: open to all.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line that is written."
    )

    @property
    def document_limits(self) -> DocumentLimits:
        """How long a document's text and title may be."""
        return DocumentLimits(self.max_document_chars, self.max_title_chars)

    @field_validator("allowed_models", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("api_key_hashes", mode="before")
    @classmethod
    def _split_hashes(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator("api_key_hashes")
    @classmethod
    def _check_hashes(cls, value: frozenset[str]) -> frozenset[str]:
        if any(len(h) != 64 or set(h) - set("0123456789abcdef") for h in value):
            raise ValueError("each must be a SHA-256 in 64 hexadecimal digits")
        return value

    @model_validator(mode="after")
    def _check_order(self) -> "Settings":
        high, medium = self.confidence_high, self.confidence_medium
        if high is not None and medium is not None and medium > high:
            raise ValueError("confidence_medium must not be above confidence_high")
        if self.passage_overlap >= self.passage_tokens:
            raise ValueError("passage_overlap must be below passage_tokens")
        return self


def environment_variables(name: str, field: FieldInfo) -> list[str]:
    """The variables that set a field; the first that is there counts."""
    if isinstance(field.validation_alias, AliasChoices):
        return [str(choice) for choice in field.validation_alias.choices]
    return [f"{_PREFIX}{name}".upper()]


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Raise `InvalidInputError` for variables that look like settings but are none."""
    known = set(OTHER_VARIABLES).union(
        *(environment_variables(name, field) for name, field in Settings.model_fields.items())
    )
    unknown = [
        name
        for name in sorted(environment)
        if (upper := name.upper()).startswith(_PREFIX)
        and upper not in known
        and not _OF_KUBERNETES.fullmatch(upper)
    ]
    if unknown:
        raise InvalidInputError("; ".join(_unknown(name, known) for name in unknown))


def _unknown(name: str, known: set[str]) -> str:
    near = get_close_matches(name.upper()[:100], sorted(known), n=1, cutoff=0.8)
    hint = f"did you mean {near[0]}?" if near else "docs/configuration.md lists all variables"
    return f"unknown environment variable {name}: {hint}"
