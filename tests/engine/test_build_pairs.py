"""What the settings must say for a pair model, with a small real one."""

import json
from pathlib import Path

import pytest

from service.engine.build import build_pair_model
from service.engine.live_collection import build_answer_cache
from service.errors import InvalidInputError
from service.models.pair_threshold import PAIR_THRESHOLD_FILE
from service.models.sources import prepare
from service.settings import Settings


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A pair model's folder as training leaves it."""
    model = prepare("minilm-l6", "bi-encoder", cache_dir=Settings().cache_dir, offline=True)
    folder = tmp_path / "pair-model"
    for path in model.folder.rglob("*"):
        if path.is_file():
            link = folder / path.relative_to(model.folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    (folder / PAIR_THRESHOLD_FILE).write_text(json.dumps({"threshold": 0.7, "metric": "cosine"}))
    return folder


def test_the_folders_threshold_holds_unless_the_settings_say_another(trained: Path) -> None:
    named = Settings(pair_model=str(trained), query_prefix="search: ")
    learned = build_pair_model(named)
    assert learned.threshold == 0.7
    # The settings' prefixes are the encoder's.
    assert learned.encoder.identity.query_prefix == ""
    given = named.model_copy(update={"pair_threshold": 0.0, "answer_cache": 4})
    overridden = build_pair_model(given, lambda _settings: learned.encoder)
    assert overridden.threshold == 0.0
    assert overridden.encoder is learned.encoder
    assert build_answer_cache(given, overridden, None, None) is not None
    assert build_answer_cache(named, learned, None, None) is None
    for model in (learned, overridden):
        model.close()


def test_without_any_threshold_it_refuses_and_says_what_to_do() -> None:
    with pytest.raises(InvalidInputError, match=r"no pair_threshold\.json: set pair_threshold"):
        build_pair_model(Settings(pair_model="minilm-l6"))


def test_an_answer_cache_needs_a_pair_model() -> None:
    assert build_pair_model(Settings()) is None
    with pytest.raises(InvalidInputError, match="answer_cache needs a pair_model"):
        build_pair_model(Settings(answer_cache=10))
