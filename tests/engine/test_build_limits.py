"""How many searches are let in by default."""

import pytest

from service.engine.build import build_reranker
from service.engine.live_collection import most_reranks
from service.protocols import Reranker
from service.search.second_stage import SLOW_RERANKS
from service.settings import Settings
from tests.fixtures.doubles import ScriptedReranker


@pytest.fixture(scope="module")
def interaction() -> Reranker:
    settings = Settings()
    reranker = build_reranker(settings)
    assert reranker is not None
    return reranker


def test_few_wait_for_a_reranker_that_may_take_seconds(interaction: Reranker) -> None:
    for reranker, kept in ((ScriptedReranker(len), True), (interaction, False)):
        assert most_reranks(Settings(), reranker, states_kept=kept) == SLOW_RERANKS


def test_as_many_as_are_let_in_wait_for_one_that_reads_what_is_kept(interaction: Reranker) -> None:
    assert most_reranks(Settings(max_queue=50), interaction, states_kept=True) == 50


def test_what_the_operator_says_holds(interaction: Reranker) -> None:
    assert most_reranks(Settings(max_reranks=20), interaction, states_kept=True) == 20
