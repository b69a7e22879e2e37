"""SIGKILL amid writes, deletes, indexing, compactions, alias switches and searches.

A hundred kills of a folder with 100,000 passages: `python -m benchmarks.faults`.
"""

import random
from pathlib import Path

from tests.faults.killing import Victim

KILLS = 12


def test_no_acknowledged_write_is_lost_and_none_is_there_by_halves(tmp_path: Path) -> None:
    victim = Victim(tmp_path / "data", dimension=16, hnsw_threshold=100)
    moments = random.Random(4)
    acknowledged = at_work = 0
    for _ in range(KILLS):
        killed = victim.run_and_kill(moments.uniform(0.0, 0.6))
        victim.check(killed)
        acknowledged += killed.acknowledged
        at_work += bool(killed.under_way)
    assert acknowledged > KILLS, "the children were killed before they wrote anything"
    assert at_work > 0, "no child was killed at its work"
    assert any(victim.states.values())
