"""Every setting, in one place: its default, limits, environment variable, flag and documentation.

`SECONDPASS_<NAME>` or `--<name>` sets a field; docs/configuration.md is generated from here.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.types import (
    MAX_TEXT_CHARS,
    MAX_TITLE_CHARS,
    Backend,
    DocumentLimits,
    EncoderBackend,
    Fusion,
    Mode,
)

PREFIX = "SECONDPASS_"

NO_MODEL = "none"
"""Names no reranker or no pair model."""

MAX_TIMEOUT_MS = 600_000

Part = Literal[
    "server", "data", "models", "encoder", "reranker", "passages", "ranking", "limits", "pairs"
]


@dataclass(frozen=True, slots=True)
class Tag:
    """What a setting is about and what it decides; every list of settings is made from these.

    A setting that decides an `index` is part of its identity: an index made with another value is
    refused. One that decides an `answer` changes what a search computes over the same index. With
    `per_collection` a collection may have its own value.
    """

    part: Part
    decides: Literal["index", "answer", "nothing"]
    per_collection: bool = False


SERVER = Tag("server", "nothing")
MODELS = Tag("models", "nothing")
LIMITS = Tag("limits", "nothing")
PAIRS = Tag("pairs", "nothing")
ENCODER = Tag("encoder", "index", per_collection=True)
PASSAGES = Tag("passages", "index", per_collection=True)
ENCODER_BACKEND = Tag("models", "answer")
RERANKER = Tag("reranker", "answer")
RERANK_CACHE = Tag("reranker", "nothing")
RANKING = Tag("ranking", "answer", per_collection=True)
JUDGING = Tag("ranking", "answer")


_ORIGIN = re.compile(r"\*|https?://[^/\s*@?#]+")


def _split(value: object) -> object:
    if isinstance(value, str):
        return frozenset(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[frozenset[str], BeforeValidator(_split)]
"""Words that a variable or flag gives with commas between them."""


class Settings(BaseSettings):
    """The settings of a server or a command."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, populate_by_name=True
    )

    data_dir: Annotated[Path, Tag("data", "nothing")] = Field(
        Path("data"), description="Folder that holds the documents and the index."
    )
    host: Annotated[str, SERVER] = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535), SERVER] = Field(
        8000, description="Port that the server listens on."
    )
    allow_anonymous: Annotated[bool, SERVER] = Field(
        False,
        description="Serve without API keys on an address other than loopback. Everyone who "
        "reaches the port may then read, write and delete.",
    )
    allowed_hosts: Annotated[CommaSeparated, NoDecode, SERVER] = Field(
        frozenset(),
        description="Names, separated by commas, that the `Host` header may have when no API keys "
        "are set. IP addresses, `localhost` and `host` are always allowed; `*` allows any name.",
    )
    max_connections: Annotated[int, Field(ge=1, le=1_000_000), SERVER] = Field(
        512,
        description="Most open connections; fewer if the limit on open files is too low. "
        "One more connection closes the one that has been idle longest.",
    )
    header_timeout_s: Annotated[int, Field(ge=1, le=600), SERVER] = Field(
        10, description="Longest time for a request's line and headers, in seconds."
    )
    keep_alive_timeout_s: Annotated[int, Field(ge=1, le=3600), SERVER] = Field(
        75,
        description="Longest time between two requests of one connection, in seconds. A proxy in "
        "front should close its idle connections sooner.",
    )
    shutdown_delay_s: Annotated[float, Field(ge=0.0, le=300.0), SERVER] = Field(
        1.0,
        description="Time between SIGTERM and the end of listening, in seconds. `/readyz` answers "
        "503 during it, so that a load balancer can turn away.",
    )
    shutdown_grace_s: Annotated[int, Field(ge=0, le=3600), SERVER] = Field(
        60, description="Longest time that open requests get to finish after that, in seconds."
    )

    encoder: Annotated[str, ENCODER] = Field(
        "e5-small", description="Bi-encoder: a registry name, a folder or a hub name."
    )
    reranker: Annotated[str, Tag("reranker", "answer", per_collection=True)] = Field(
        "interaction-v1", description="Reranker: a registry name, a folder, a hub name or `none`."
    )
    cache_dir: Annotated[Path, MODELS] = Field(
        default_factory=lambda: Path.home() / ".cache" / "secondpass",
        description="Folder for prepared models (about 600 MB for the default ones).",
    )
    hub_offline: Annotated[bool, MODELS] = Field(
        False,
        validation_alias=AliasChoices("SECONDPASS_HUB_OFFLINE", "HF_HUB_OFFLINE"),
        description="Never ask the model hub; its cache folder is still read.",
    )
    query_prefix: Annotated[str | None, Tag("encoder", "index")] = Field(
        None, description="Prefix of every query, in place of the model's own."
    )
    passage_prefix: Annotated[str | None, Tag("encoder", "index")] = Field(
        None, description="Prefix of every passage, in place of the model's own."
    )
    embedding_dimensions: Annotated[int | None, Field(ge=1), ENCODER] = Field(
        None, description="Dimensions of a vector: a Matryoshka size of the encoder, or all."
    )
    device: Annotated[str, MODELS] = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    encoder_query_backend: Annotated[Literal["auto", EncoderBackend], ENCODER_BACKEND] = Field(
        "auto",
        description="What encodes queries on a CPU, with an encoder of BERT's make. `auto` is what "
        "was fastest when it was measured on this machine, and close to float32.",
    )
    encoder_passage_backend: Annotated[Literal["auto", EncoderBackend], ENCODER_BACKEND] = Field(
        "auto", description="The same for passages."
    )
    threads: Annotated[int, Field(ge=0, le=256), MODELS] = Field(
        0, description="CPU threads of a model; 0 for all cores."
    )

    passage_tokens: Annotated[int, Field(ge=16, le=8192), PASSAGES] = Field(
        256, description="Longest passage in tokens; longer documents are chunked."
    )
    passage_overlap: Annotated[int, Field(ge=0, le=4096), PASSAGES] = Field(
        32, description="Most tokens that neighbouring passages share."
    )
    passages_per_document: Annotated[
        int, Field(ge=1, le=1000), Tag("passages", "answer", per_collection=True)
    ] = Field(4, description="Most candidates that one document may take up.")
    batch_tokens: Annotated[int, Field(ge=512, le=1_000_000), MODELS] = Field(
        8192, description="Tokens in one batch of a model, with padding."
    )
    rerank_max_length: Annotated[int, Field(ge=32, le=8192), RERANKER] = Field(
        512, description="Tokens of a (query, passage) pair; the passage is cut."
    )
    rerank_weight: Annotated[float | None, Field(ge=0.0, le=1.0), JUDGING] = Field(
        None, description="The reranker's share in the fused score, in place of the fitted one."
    )
    rerank_cache_mb: Annotated[int, Field(ge=0, le=100_000), RERANK_CACHE] = Field(
        256,
        description="Megabytes in which a reranker keeps passages it has read: an interaction "
        "reranker keeps what it encoded, a cross-encoder keeps their tokens.",
    )
    rerank_backend: Annotated[Literal["auto", Backend], RERANKER] = Field(
        "auto",
        description="What runs a cross-encoder. `auto` is the backend that `secondpass models "
        "prepare` chose on this CPU, or `torch`; the `onnx` ones need `secondpass[onnx]`.",
    )
    rerank_score_cache: Annotated[int, Field(ge=0, le=10_000_000), RERANK_CACHE] = Field(
        0, description="Scores that a cross-encoder keeps for repeated pairs; 0 keeps none."
    )
    rerank_window: Annotated[int, Field(ge=0, le=8192), RERANKER] = Field(
        0,
        description="Tokens of a longer passage that a cross-encoder reads: the part that shares "
        "most with the query. With 0 it reads the passage from its beginning.",
    )
    passage_states: Annotated[bool, Tag("passages", "answer")] = Field(
        True,
        description="Keep on disk what the reranker reads of each passage, so that a search need "
        "not compute it: token states for an interaction reranker (about 7 KB for 100 tokens), "
        "token ids for a cross-encoder (400 bytes).",
    )
    rerank_depth: Annotated[int, Field(ge=0, le=1000), RANKING] = Field(
        100, description="Most candidates that are reranked; others follow in stage one's order."
    )
    search_mode: Annotated[Mode, RANKING] = Field(
        "dense",
        description="How a search that names no `mode` finds passages: by vectors (`dense`), by "
        "words (`sparse`, BM25) or both (`hybrid`).",
    )
    hybrid_fusion: Annotated[Fusion, RANKING] = Field(
        "weighted",
        description="How the hybrid mode merges: by reciprocal ranks (`rrf`) or `weighted` scores.",
    )
    hybrid_weight: Annotated[float, Field(ge=0.0, le=1.0), RANKING] = Field(
        0.2, description="Share of the words in the hybrid mode's order."
    )
    hnsw_threshold: Annotated[int, Field(ge=1), RANKING] = Field(
        100_000, description="Passages above which the index is HNSW instead of exact."
    )

    calibration: Annotated[Path | None, JUDGING] = Field(
        None, description="Calibration artifact, in place of the one shipped for the models."
    )
    confidence_high: Annotated[float | None, Field(ge=0.0, le=1.0), JUDGING] = Field(
        None, description="Least probability of a `high` hit; not set: the calibration's, or 0.8."
    )
    confidence_medium: Annotated[float | None, Field(ge=0.0, le=1.0), JUDGING] = Field(
        None, description="Least probability of a `medium` hit; not set: the calibration's, or 0.5."
    )

    pair_model: Annotated[str, PAIRS] = Field(
        NO_MODEL,
        description="Bi-encoder that tells whether two queries mean the same: a folder from "
        "`secondpass train pair-contrastive`, or another model with `pair_threshold`; or `none`.",
    )
    pair_threshold: Annotated[float | None, Field(ge=-1.0, le=1.0), PAIRS] = Field(
        None,
        allow_inf_nan=False,
        description="Least cosine of two queries that mean the same, in place of the pair model's.",
    )
    answer_cache: Annotated[int, Field(ge=0, le=10_000), PAIRS] = Field(
        0, description="Answers kept for queries that the pair model finds the same; 0 keeps none."
    )
    answer_cache_ttl_s: Annotated[int, Field(ge=1, le=604_800), PAIRS] = Field(
        3600, description="Longest time that an answer is kept, in seconds."
    )

    max_query_chars: Annotated[int, Field(ge=1, le=100_000), LIMITS] = Field(
        4000, description="Longest query, in characters after cleaning."
    )
    max_document_chars: Annotated[int, Field(ge=1), LIMITS] = Field(
        MAX_TEXT_CHARS, description="Longest document text, in characters."
    )
    max_title_chars: Annotated[int, Field(ge=1, le=100_000), LIMITS] = Field(
        MAX_TITLE_CHARS, description="Longest title of a document, in characters."
    )
    max_body_bytes: Annotated[int, Field(ge=1024), SERVER] = Field(
        1_048_576, description="Largest request body, in bytes."
    )
    max_documents_body_bytes: Annotated[int, Field(ge=1024), SERVER] = Field(
        67_108_864, description="Largest body of a request that brings documents, in bytes."
    )
    max_bulk_bytes: Annotated[int, Field(ge=1024), SERVER] = Field(
        10_000_000_000, description="Largest bulk upload, in bytes."
    )
    max_queue: Annotated[int, Field(ge=1, le=10_000), SERVER] = Field(
        256,
        description="Most searches that run or wait. The same number limits comparisons, and "
        "reads and writes of documents; each kind is counted by itself. One more is answered 429. "
        "A client (its API key, else its address) may have a quarter.",
    )
    max_batch_queries: Annotated[int, Field(ge=1, le=1000), SERVER] = Field(
        64, description="Most searches in one request to `/search/batch`."
    )
    max_reranks: Annotated[int | None, Field(ge=1, le=10_000), SERVER] = Field(
        None,
        description="Most of these searches that are in the rerank or wait for it. One more is "
        "answered 429. A client gets a quarter; its other searches wait. Not set: no limit of its "
        "own with an interaction reranker and `passage_states`, else 32.",
    )
    timeout_ms: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS), SERVER] = Field(
        60_000,
        description="Longest time in milliseconds for a search or comparison that names none, and "
        "for each read or write of documents.",
    )
    max_snapshot_bytes: Annotated[int, Field(ge=1), SERVER] = Field(
        50_000_000_000, description="Largest snapshot that the server restores, in bytes."
    )
    delete_reserve_bytes: Annotated[int, Field(ge=0), SERVER] = Field(
        33_554_432,
        description="Disk space that the data folder reserves for deletes, in bytes, so that a "
        "full disk can be emptied; at most an eighth of what is free at the first start.",
    )
    allowed_models: Annotated[CommaSeparated, NoDecode, SERVER] = Field(
        frozenset(),
        description="Models, separated by commas, that a request may name for a new collection, "
        "besides the server's own and those of the registry that need no download: registry "
        "names, folders or hub names.",
    )
    api_key_hashes: Annotated[CommaSeparated, NoDecode, SERVER] = Field(
        frozenset(),
        description="SHA-256 of each API key that may do everything, separated by commas.",
    )
    keys_file: Annotated[Path | None, SERVER] = Field(
        None,
        description="File of the keys that `secondpass keys` makes, in place of `keys.json` in the "
        "data folder. Several servers may read one. With neither keys nor hashes the server is "
        "open to all.",
    )
    cors_origins: Annotated[CommaSeparated, NoDecode, SERVER] = Field(
        frozenset(),
        description="Origins, such as `https://example.org`, separated by commas, whose web pages "
        "may read answers; `*` for all. Browsers send them no cookies: such a page needs a key of "
        "its own, and a server without keys is open to all of them.",
    )
    root_path: Annotated[str | None, SERVER] = Field(
        None,
        pattern=r"^(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){1,16}$",
        max_length=256,
        description="Path below which a proxy shows the server, such as `/search`, if the proxy "
        "removes it from the path and sends no `X-Forwarded-Prefix`.",
    )
    open_metrics: Annotated[bool, SERVER] = Field(
        True, description="Whether `/metrics` needs no key; else one with the scope `metrics`."
    )
    open_docs: Annotated[bool, SERVER] = Field(
        True,
        description="Whether `/docs` and `/openapi.json` need no key; else any key opens them.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], SERVER] = Field(
        "info", description="Least severe log line that is written."
    )
    log_format: Annotated[Literal["text", "json"], SERVER] = Field(
        "text", description="Form of log lines: text, or one JSON object per line."
    )
    traces: Annotated[bool, SERVER] = Field(
        False,
        description="Send OpenTelemetry traces of requests and their stages where the "
        "`OTEL_EXPORTER_OTLP_*` variables say; needs `secondpass[otel]`.",
    )

    @property
    def document_limits(self) -> DocumentLimits:
        """How long a document's text and title may be."""
        return DocumentLimits(self.max_document_chars, self.max_title_chars)

    @field_validator("api_key_hashes")
    @classmethod
    def _check_hashes(cls, value: frozenset[str]) -> frozenset[str]:
        hashes = frozenset(map(str.lower, value))
        if any(len(h) != 64 or set(h) - set("0123456789abcdef") for h in hashes):
            raise ValueError("each must be a SHA-256 in 64 hexadecimal digits")
        return hashes

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: frozenset[str]) -> frozenset[str]:
        origins = frozenset(map(str.lower, value))
        if any(not _ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("each must be `*` or a scheme, host and perhaps port, without a path")
        return origins

    @model_validator(mode="after")
    def _check_order(self) -> "Settings":
        high, medium = self.confidence_high, self.confidence_medium
        if high is not None and medium is not None and medium > high:
            raise ValueError("confidence_medium must not be above confidence_high")
        if self.passage_overlap >= self.passage_tokens:
            raise ValueError("passage_overlap must be below passage_tokens")
        return self


TAGS = {
    name: next(tag for tag in field.metadata if isinstance(tag, Tag))
    for name, field in Settings.model_fields.items()
}
"""The tag of each setting."""

DECIDING = tuple(name for name, tag in TAGS.items() if tag.decides != "nothing")
"""The settings that decide an index or an answer."""

PER_COLLECTION = tuple(name for name, tag in TAGS.items() if tag.per_collection)
"""The settings that can have another value in each collection."""


def settings_about(*parts: Part) -> tuple[str, ...]:
    """The settings that are about one of these parts."""
    return tuple(name for name, tag in TAGS.items() if tag.part in parts)


def environment_variables(name: str, field: FieldInfo) -> list[str]:
    """The variables that set a field; the first that is set wins."""
    if isinstance(field.validation_alias, AliasChoices):
        return [str(choice) for choice in field.validation_alias.choices]
    return [f"{PREFIX}{name}".upper()]
