import pytest

from service.models import folder
from service.models.registry import REGISTRY, HubSource, ModelSpec, PackageSource
from service.models.sources import PreparedModel, prepare
from service.settings import Settings

SPECS = list(REGISTRY.values())
ENCODERS = [spec for spec in SPECS if spec.kind == "bi-encoder"]


def test_the_default_models_are_named() -> None:
    settings = Settings.model_fields
    assert REGISTRY[settings["encoder"].default].kind == "bi-encoder"
    assert REGISTRY[settings["reranker"].default].kind == "interaction"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_name_says_where_its_model_comes_from_first(spec: ModelSpec) -> None:
    first = spec.sources[0]
    if "/" in spec.name:
        assert first == HubSource(spec.name, first.making, first.sha256)
    else:
        assert isinstance(first, PackageSource)


@pytest.mark.parametrize("spec", ENCODERS, ids=lambda spec: spec.name)
def test_an_encoder_states_its_vectors(spec: ModelSpec) -> None:
    assert spec.dimension is not None
    assert all(0 < size <= spec.dimension for size in spec.matryoshka)


def test_every_e5_model_has_its_prefixes() -> None:
    e5 = [spec for spec in ENCODERS if "e5" in spec.name and "instruct" not in spec.name]
    assert {(spec.query_prefix, spec.passage_prefix) for spec in e5} == {("query: ", "passage: ")}
    assert len(e5) == 7


@pytest.mark.parametrize("name", ["e5-small", "minilm-l6", "minilm-l6-v0"])
def test_the_registry_says_what_the_models_own_files_say(
    name: str, e5: PreparedModel, reranker: PreparedModel
) -> None:
    spec = REGISTRY[name]
    model = prepare(name, spec.kind, cache_dir=Settings().cache_dir, offline=True)
    assert folder.max_length(model.folder) == spec.max_length
    if spec.kind == "bi-encoder":
        assert folder.dimension(model.folder) == spec.dimension
