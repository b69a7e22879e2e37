"""Every setting, in one place: its default, limits, environment variable, flag and documentation.

`SECONDPASS_<NAME>` sets a field; the flag is
`--<name>` with dashes. `docs/configuration.md` is generated from here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.types import MAX_TEXT_CHARS, MAX_TITLE_CHARS, DocumentLimits

PREFIX = "SECONDPASS_"

Part = Literal[
    "server", "data", "models", "encoder", "reranker", "passages", "ranking", "limits", "pairs"
]


@dataclass(frozen=True, slots=True)
class Tag:
    """What a setting is about and what it decides; every list of settings is made from these.

    One that decides an `index` is part of its identity: another value refuses the index. One that
    decides an `answer` changes what a search computes over the same index. `per_collection`: a
    collection may have its own value.
    """

    part: Part
    decides: Literal["index", "answer", "nothing"]
    per_collection: bool = False


SERVER = Tag("server", "nothing")
MODELS = Tag("models", "nothing")
LIMITS = Tag("limits", "nothing")
PAIRS = Tag("pairs", "nothing")
ENCODER = Tag("encoder", "index", per_collection=True)
RANKING = Tag("ranking", "answer", per_collection=True)


def _default_cache_dir() -> Path:
    return Path.home() / ".cache" / "secondpass"


class Settings(BaseSettings):
    """The settings of a server or a command."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, populate_by_name=True
    )

    data_dir: Annotated[Path, Tag("data", "nothing")] = Field(
        Path("data"), description="Folder that holds the documents and the index."
    )
    host: Annotated[str, SERVER] = Field(
        "127.0.0.1", description="Address that the server listens on."
    )
    port: Annotated[int, SERVER] = Field(
        8000, ge=0, le=65535, description="Port that the server listens on."
    )
    allow_anonymous: Annotated[bool, SERVER] = Field(
        False,
        description="Serve without API keys on an address other than loopback, where everyone who "
        "reaches the port may read, write and delete.",
    )
    allowed_hosts: Annotated[frozenset[str], NoDecode, SERVER] = Field(
        frozenset(),
        description="Names of this server, separated by commas, that the `Host` header may have "
        "where no API keys are set; IP addresses, `localhost` and `host` always may; `*`: any.",
    )
    max_connections: Annotated[int, SERVER] = Field(
        512,
        ge=1,
        le=1_000_000,
        description="Open connections, at most; fewer where the limit on open files is too low. "
        "For one more, the connection that has been idle longest is closed.",
    )
    header_timeout_s: Annotated[int, SERVER] = Field(
        10, ge=1, le=600, description="Longest time for a request's line and headers, in seconds."
    )
    keep_alive_timeout_s: Annotated[int, SERVER] = Field(
        75,
        ge=1,
        le=3600,
        description="Longest time between two requests of one connection, in seconds; a proxy in "
        "front should close its idle connections sooner.",
    )
    shutdown_delay_s: Annotated[float, SERVER] = Field(
        1.0,
        ge=0.0,
        le=300.0,
        description="Time between SIGTERM and the end of listening, in seconds; `/readyz` answers "
        "503 in it, so that a load balancer can turn away.",
    )
    shutdown_grace_s: Annotated[int, SERVER] = Field(
        60,
        ge=0,
        le=3600,
        description="Longest time that requests under way get to finish after that, in seconds.",
    )

    encoder: Annotated[str, ENCODER] = Field(
        "e5-small", description="Bi-encoder: a registry name, a folder or a hub name."
    )
    reranker: Annotated[str, Tag("reranker", "answer", per_collection=True)] = Field(
        "interaction-v1",
        description="Reranker: a registry name, a folder or a hub name; or `none`.",
    )
    cache_dir: Annotated[Path, MODELS] = Field(
        default_factory=_default_cache_dir,
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
    embedding_dimensions: Annotated[int | None, ENCODER] = Field(
        None,
        ge=1,
        description="Dimensions of a vector: a Matryoshka size of the encoder; all by default.",
    )
    device: Annotated[str, MODELS] = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    threads: Annotated[int, MODELS] = Field(
        0,
        ge=0,
        le=256,
        description="CPU threads of a model; 0 for all cores.",
    )

    passage_tokens: Annotated[int, Tag("passages", "index", per_collection=True)] = Field(
        256, ge=16, le=8192, description="Longest passage in tokens; longer documents are chunked."
    )
    passage_overlap: Annotated[int, Tag("passages", "index", per_collection=True)] = Field(
        32, ge=0, le=4096, description="Tokens that neighbouring passages share, at most."
    )
    passages_per_document: Annotated[int, Tag("passages", "answer", per_collection=True)] = Field(
        4, ge=1, le=1000, description="Candidates that one document may take up."
    )
    batch_tokens: Annotated[int, MODELS] = Field(
        1024,
        ge=512,
        le=1_000_000,
        description="Tokens, padding counted, in one batch of a model; a GPU gains from more.",
    )
    rerank_max_length: Annotated[int, Tag("reranker", "answer")] = Field(
        512, ge=32, le=8192, description="Tokens of a (query, passage) pair; the passage is cut."
    )
    rerank_weight: Annotated[float | None, Tag("ranking", "answer")] = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Share of the reranker in the fused score, in place of the fitted one.",
    )
    rerank_cache_mb: Annotated[int, Tag("reranker", "nothing")] = Field(
        256,
        ge=0,
        le=100_000,
        description="Megabytes in which a reranker keeps passages it has read: an interaction "
        "reranker what it encoded, a cross-encoder their tokens.",
    )
    rerank_backend: Annotated[
        Literal["auto", "torch", "torch-bf16", "onnx", "onnx-int8"], Tag("reranker", "answer")
    ] = Field(
        "auto",
        description="What runs a cross-encoder: `auto` is the one that `secondpass models prepare` "
        "chose on this CPU, or `torch`; the `onnx` ones need `secondpass[onnx]`.",
    )
    rerank_score_cache: Annotated[int, Tag("reranker", "nothing")] = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Scores that a cross-encoder keeps for pairs that come again; 0: none.",
    )
    rerank_window: Annotated[int, Tag("reranker", "answer")] = Field(
        0,
        ge=0,
        le=8192,
        description="Tokens to which a cross-encoder cuts a longer passage, where it shares most "
        "with the query; 0: it reads the passage from its beginning.",
    )
    passage_states: Annotated[bool, Tag("passages", "answer")] = Field(
        True,
        description="Keep on the disk what the reranker reads of each passage, so that it need not "
        "be made during a search: token states for an interaction reranker (some 13 KB for 100 "
        "tokens), token ids for a cross-encoder (400 bytes).",
    )
    rerank_depth: Annotated[int, RANKING] = Field(
        100,
        ge=0,
        le=1000,
        description="Candidates that are reranked, at most; others follow in stage one's order.",
    )
    search_mode: Annotated[Literal["dense", "sparse", "hybrid"], RANKING] = Field(
        "dense",
        description="How a search that names no `mode` finds passages: by vectors (`dense`), by "
        "words (`sparse`, BM25) or by both (`hybrid`).",
    )
    hybrid_fusion: Annotated[Literal["rrf", "weighted"], RANKING] = Field(
        "weighted",
        description="How the hybrid mode makes one order of two: by reciprocal ranks (`rrf`) or by "
        "`weighted` scores.",
    )
    hybrid_weight: Annotated[float, RANKING] = Field(
        0.2, ge=0.0, le=1.0, description="Share of the words in the hybrid mode's order."
    )
    hnsw_threshold: Annotated[int, RANKING] = Field(
        100_000, ge=1, description="Passages above which the index is HNSW instead of exact."
    )

    calibration: Annotated[Path | None, Tag("ranking", "answer")] = Field(
        None, description="Calibration artifact, in place of the one shipped for the models."
    )
    confidence_high: Annotated[float | None, Tag("ranking", "answer")] = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Probability from which a hit is `high`; not set: the calibration's, or 0.8.",
    )
    confidence_medium: Annotated[float | None, Tag("ranking", "answer")] = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Probability from which a hit is `medium`; not set: the calibration's, or 0.5.",
    )

    pair_model: Annotated[str, PAIRS] = Field(
        "none",
        description="Bi-encoder that tells whether two queries mean the same: a folder from "
        "`secondpass train pair-contrastive`, or another model with `pair_threshold`; or `none`.",
    )
    pair_threshold: Annotated[float | None, PAIRS] = Field(
        None,
        ge=-1.0,
        le=1.0,
        allow_inf_nan=False,
        description="Cosine from which two queries mean the same, in place of the pair model's.",
    )
    answer_cache: Annotated[int, PAIRS] = Field(
        0,
        ge=0,
        le=10_000,
        description="Answers kept for later queries that mean the same by the pair model; 0: none.",
    )
    answer_cache_ttl_s: Annotated[int, PAIRS] = Field(
        3600, ge=1, le=604_800, description="Longest time that an answer is kept, in seconds."
    )

    max_query_chars: Annotated[int, LIMITS] = Field(
        4000, ge=1, le=100_000, description="Longest query, in characters after cleaning."
    )
    max_document_chars: Annotated[int, LIMITS] = Field(
        MAX_TEXT_CHARS, ge=1, description="Longest document text, in characters."
    )
    max_title_chars: Annotated[int, LIMITS] = Field(
        MAX_TITLE_CHARS,
        ge=1,
        le=100_000,
        description="Longest title of a document, in characters.",
    )
    max_body_bytes: Annotated[int, SERVER] = Field(
        1_048_576, ge=1024, description="Largest request body, in bytes."
    )
    max_documents_body_bytes: Annotated[int, SERVER] = Field(
        67_108_864,
        ge=1024,
        description="Largest body of a request that brings documents, in bytes.",
    )
    max_bulk_bytes: Annotated[int, SERVER] = Field(
        10_000_000_000, ge=1024, description="Largest bulk upload, in bytes."
    )
    max_queue: Annotated[int, SERVER] = Field(
        256,
        ge=1,
        le=10_000,
        description="Searches under way or waiting, and as many comparisons, reads and writes of "
        "documents, each counted by itself; one more is answered 429. A client (its API key, else "
        "its address) may have a quarter.",
    )
    max_batch_queries: Annotated[int, SERVER] = Field(
        64, ge=1, le=1000, description="Searches in one request to `/search/batch`."
    )
    max_reranks: Annotated[int | None, SERVER] = Field(
        None,
        ge=1,
        le=10_000,
        description="Of these, searches in the rerank or waiting for it; one more is answered 429. "
        "Of one client a quarter, the others of it wait. Not set: no limit of its own with an "
        "interaction reranker and `passage_states`, else 32.",
    )
    timeout_ms: Annotated[int, SERVER] = Field(
        60_000,
        ge=1,
        le=600_000,
        description="Longest time for a search or comparison that names none, and for each read or "
        "write of documents.",
    )
    max_snapshot_bytes: Annotated[int, SERVER] = Field(
        50_000_000_000, ge=1, description="Largest snapshot that is taken to restore, in bytes."
    )
    delete_reserve_bytes: Annotated[int, SERVER] = Field(
        33_554_432,
        ge=0,
        description="Disk space that the data folder takes up for deletes, so that a full disk can "
        "be emptied, in bytes; at most an eighth of what is free at the first start.",
    )
    allowed_models: Annotated[frozenset[str], NoDecode, SERVER] = Field(
        frozenset(),
        description="Models that a request may name for a new collection, besides the server's own "
        "and those of the registry that need no download: registry names, folders or hub names, "
        "separated by commas.",
    )
    api_key_hashes: Annotated[frozenset[str], NoDecode, SERVER] = Field(
        frozenset(),
        description="SHA-256 of each accepted API key, separated by commas; none: open to all.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], SERVER] = Field(
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


TAGS = {
    name: tag
    for name, field in Settings.model_fields.items()
    for tag in field.metadata
    if isinstance(tag, Tag)
}
"""The tag of each setting."""

DECIDING = tuple(name for name, tag in TAGS.items() if tag.decides != "nothing")
"""The settings that decide an index or an answer."""

PER_COLLECTION = tuple(name for name, tag in TAGS.items() if tag.per_collection)
"""The settings that a collection may have of its own."""


def settings_about(*parts: Part) -> tuple[str, ...]:
    """The settings that are about one of these parts."""
    return tuple(name for name, tag in TAGS.items() if tag.part in parts)


def environment_variables(name: str, field: FieldInfo) -> list[str]:
    """The variables that set a field; the first that is there counts."""
    if isinstance(field.validation_alias, AliasChoices):
        return [str(choice) for choice in field.validation_alias.choices]
    return [f"{PREFIX}{name}".upper()]
