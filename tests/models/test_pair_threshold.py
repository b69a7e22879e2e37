from pathlib import Path

import pytest

from service.errors import ModelSourceError
from service.models.pair_threshold import PAIR_THRESHOLD_FILE, read_pair_threshold


def test_a_folder_says_its_threshold(tmp_path: Path) -> None:
    text = (
        '{"threshold": 0.87, "metric": "cosine", "data": {"name": "q"}, "accuracy": 0.93, "f1": 1}'
    )
    (tmp_path / PAIR_THRESHOLD_FILE).write_text(text)
    learned = read_pair_threshold(tmp_path)
    assert (learned.threshold, learned.accuracy, learned.data) == (0.87, 0.93, {"name": "q"})


def test_a_folder_without_the_file_says_nothing(tmp_path: Path) -> None:
    assert read_pair_threshold(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Invalid JSON"),
        ("[]", "object"),
        ("{}", "threshold: "),
        ('{"threshold": 1.5}', "threshold: "),
        ('{"threshold": NaN}', "threshold: "),
        ('{"threshold": 0.5, "metric": "euclidean"}', "metric: "),
        ('{"threshold": 0.5, "accuracy": 93}', "accuracy: "),
    ],
)
def test_a_file_that_breaks_a_rule_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / PAIR_THRESHOLD_FILE).write_text(text)
    with pytest.raises(ModelSourceError, match=PAIR_THRESHOLD_FILE) as caught:
        read_pair_threshold(tmp_path)
    assert said in str(caught.value)
