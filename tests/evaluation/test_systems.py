from pathlib import Path

import pytest

from service.errors import InvalidInputError
from service.evaluation.systems import (
    check_names,
    collection_names,
    parse_run,
    parse_system,
    read_systems,
)
from service.settings import Settings

BASE = Settings(encoder="mine", rerank_weight=0.3, threads=1)


def test_a_system_is_the_commands_settings_with_its_own_over_them() -> None:
    system = parse_system("e5=encoder=e5-small, reranker=none, passage-tokens=128", BASE)
    assert system.name == "e5"
    changed = (system.settings.encoder, system.settings.reranker, system.settings.passage_tokens)
    assert changed == ("e5-small", "none", 128)
    assert (system.settings.rerank_weight, system.settings.threads) == (0.3, 1)


def test_a_system_may_change_nothing() -> None:
    assert parse_system("ours=", BASE).settings == BASE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("e5", "is not NAME=SETTING=VALUE"),
        ("e5=encoder", "'encoder' is not SETTING=VALUE"),
        ("e5=rerank-depth=1,rerank_depth=2", "rerank_depth is given twice"),
        ("e5=port=80", "port: is none of encoder, reranker"),
        ("e5=rerank_weight=2", "rerank_weight: Input should be less than or equal to 1"),
        ("a/b=encoder=x", "'a/b' is no name"),
    ],
)
def test_what_is_wrong_with_a_system_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        parse_system(text, BASE)


def test_systems_of_a_file_keep_its_order(tmp_path: Path) -> None:
    path = tmp_path / "systems.toml"
    path.write_text('[z]\nreranker = "none"\n\n["a.1"]\nrerank_weight = 0.5\n', encoding="utf-8")
    first, second = read_systems(path, BASE)
    assert (first.name, first.settings.reranker) == ("z", "none")
    assert (second.name, second.settings.rerank_weight) == ("a.1", 0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [("[z\n", "systems.toml"), ("z = 1\n", "z: must be a table"), ("[z]\nport = 1\n", "port")],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "systems.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=said):
        read_systems(path, BASE)


def test_names_stand_for_one_ranking() -> None:
    check_names(["a", "b"])
    with pytest.raises(InvalidInputError, match="named a"):
        check_names(["a", "b", "a"])


def test_collections_with_one_folder_name_are_told_apart(tmp_path: Path) -> None:
    here, there = tmp_path / "first" / "help", tmp_path / "second" / "help"
    other = tmp_path / "faq v2"
    assert collection_names([here, there, other]) == ["first-help", "second-help", "faq_v2"]
    assert collection_names([here]) == ["help"]
    with pytest.raises(InvalidInputError, match="given twice"):
        collection_names([here, other, here])


def test_a_run_must_be_there_and_hold_queries_of_the_collection(tmp_path: Path) -> None:
    (tmp_path / "help.trec").write_text("q1 Q0 a 1 2.0 t\nq9 Q0 a 1 2.0 t\n", encoding="utf-8")
    of_folder = parse_run(f"bm25={tmp_path}")
    assert of_folder.read("help", ["q1", "q2"]) == {"q1": [("a", 2.0)]}
    of_file = parse_run(f"bm25={tmp_path / 'help.trec'}")
    with pytest.raises(InvalidInputError, match="none of the queries of faq"):
        of_file.read("faq", ["q2"])
    with pytest.raises(InvalidInputError, match="no such file"):
        parse_run(f"bm25={tmp_path / 'gone'}")
