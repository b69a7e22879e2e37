"""How many searches are let in where nobody says."""

import pytest

from service.pipeline.build import most_reranks
from service.settings import Settings
from tests.fixtures.doubles import ScriptedReranker


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        (Settings(), 8),
        (Settings(max_queue=3), 3),
        (Settings(max_reranks=20), 20),
    ],
)
def test_few_wait_for_a_reranker_that_may_take_seconds(settings: Settings, most: int) -> None:
    assert most_reranks(settings, ScriptedReranker(len)) == most
