"""`secondpass train`: its flags, its words, and the model that it leaves."""

import sys
from pathlib import Path

import pytest

from service.cli import main
from service.engine.build import build_encoder, build_reranker
from service.settings import Settings
from service.training.recipe import shipped_recipes
from tests.fixtures.small_models import write_small_encoder
from tests.fixtures.training_labels import write_articles, write_pairs

SMALL = (
    "training.max_steps=2",
    "training.validation_share=0.25",
    "training.test_share=0.25",
    "training.seed=2",
    "training.max_length=32",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_encoder(tmp_path_factory.mktemp("base"))


class Command:
    """Runs the command in this process; gives its exit status and what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys, self._patch = capsys, patch

    def __call__(self, *words: object) -> tuple[object, str, str]:
        self._patch.setattr(sys, "argv", ["secondpass", "train", *map(str, words)])
        try:
            main()
            code: object = 0
        except SystemExit as ending:
            code = ending.code or 0
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def small(base: Path, *more: str) -> list[str]:
    return [word for change in (f"base={base}", *SMALL, *more) for word in ("--set", change)]


def settings(**values: object) -> Settings:
    return Settings(device="cpu", hub_offline=True, calibration="none", **values)  # type: ignore[arg-type]


def test_a_trained_encoder_is_served(train: Command, base: Path, tmp_path: Path) -> None:
    labels, out = write_articles(tmp_path / "articles"), tmp_path / "encoder"
    licence = ("--data-licence", "articles=CC0-1.0")
    code, said, complaint = train(
        "smart-binary", "--collection", labels, "--out", out, "--device", "cpu", *licence,
        *small(base),
    )  # fmt: skip
    assert code == 0, complaint
    assert "accuracy@1: " in said
    assert " -> " in said
    assert "measuring the model as it is\n" in complaint
    assert "step 2 of 2" in complaint
    encoder = build_encoder(settings(encoder=str(out)))
    assert encoder.identity.query_prefix == "query: "
    assert encoder.encode_queries(["Đạo hàm là gì?"]).shape == (1, 32)
    code, said, _ = train(
        "smart-binary", "--collection", labels, "--out", out, "--device", "cpu", *small(base)
    )
    assert code == 0
    assert "finished already" in said


def test_a_trained_reranker_is_served(train: Command, base: Path, tmp_path: Path) -> None:
    labels, out = write_articles(tmp_path / "articles"), tmp_path / "reranker"
    code, _, complaint = train(
        "weighted-bce", "--collection", labels, "--out", out, "--device", "cpu", *small(base)
    )
    assert code == 0, complaint
    reranker = build_reranker(settings(reranker=str(out)))
    assert reranker is not None
    scores = reranker.score_pairs([("When does the ferry leave?", "At seven in the morning.")])
    assert len(scores) == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["no-such-recipe"], "there is no recipe 'no-such-recipe'; shipped are "),
        (["smart-binary", "--set", "training.batch_size=0"], "training.batch_size"),
        (["smart-binary", "--set", "training.bach_size=4"], "training.bach_size"),
        (["smart-binary", "--set", "options.articel=title"], "options.articel"),
        (["smart-binary", "--set", "batch_size"], "not of the form key=value"),
        (["smart-binary", "--data-licence", "MIT"], "takes NAME=LICENCE"),
        (["smart-binary", "--set", "system=os"], "there is no system 'os'"),
        (["smart-binary", "--set", "base=no-such-model"], "no-such-model"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(
    train: Command, tmp_path: Path, words: list[str], complaint: str
) -> None:
    labels = write_pairs(tmp_path / "pairs.jsonl")
    code, _, said = train(*words, "--collection", labels, "--out", tmp_path / "out")
    assert code in {1, 2}
    assert complaint in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_labels_that_are_not_there_are_named(train: Command, base: Path, tmp_path: Path) -> None:
    code, _, said = train(
        "smart-binary", "--collection", tmp_path / "nowhere", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "nowhere: there is no such file or folder" in said


def test_recipes_are_shipped() -> None:
    assert {"smart-binary", "weighted-bce", "pair-contrastive"} <= set(shipped_recipes())
