from dataclasses import replace

from service.evaluation.plots import plot_losses
from service.training.card import Record, render_card

RECORD = Record(
    recipe={"name": "my-field", "base": "e5-small", "training": {"seed": 7, "epochs": 2.0}},
    base_licence="MIT",
    device="CPU, 2 threads",
    precision="fp32",
    steps=40,
    best_step=30,
    best_validation_loss=0.25,
    seconds=12.0,
    examples_per_second=8.5,
    history=[],
    versions={"torch": "2.0"},
    commit="abc1234",
    date="2026-01-02",
    rows={"train": 10, "validation": 2},
    parameters={"all": 1200, "trained": 200},
    data=[{"name": "a|b", "sha256": "f00d", "rows": 12, "licence": "CC0-1.0"}],
    notes=("Split by query.",),
    before={"mrr": 0.5, "loss": 0.0},
    after={"mrr": 0.6, "loss": 0.1, "new": 0.3},
)


def test_figures_stand_with_absolute_and_relative_change() -> None:
    card = render_card(RECORD)
    assert "| mrr | 0.5000 | 0.6000 | +0.1000 | +20.0% |" in card
    assert "| loss | 0.0000 | 0.1000 | +0.1000 |  |" in card
    assert "| new |  | 0.3000 |  |  |" in card


def test_data_hyperparameters_and_course_are_told() -> None:
    card = render_card(RECORD)
    assert "| a\\|b | 12 | CC0-1.0 |" in card
    assert "- a|b: `f00d`" in card
    assert "| training.epochs | 2.0 |" in card
    for line in ("| kept | step 30 |", "| seed | 7 |", "| commit | abc1234 |"):
        assert line in card
    assert "- Split by query." in card


def test_the_front_matter_names_base_and_licence() -> None:
    lines = render_card(RECORD).splitlines()
    assert lines[0] == "---"
    assert 'base_model: "e5-small"' in lines
    assert 'license: "mit"' in lines
    unknown = render_card(replace(RECORD, base_licence=None))
    assert 'license: "unknown"' in unknown


def test_the_curve_takes_each_loss_with_its_step() -> None:
    history = [{"step": 1, "loss": 0.5}, {"step": 2, "eval_loss": 0.4}, {"step": 2, "loss": 0.3}]
    (axes,) = plot_losses(history, "my-field").axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {
        "training": [[1, 0.5], [2, 0.3]],
        "validation": [[2, 0.4]],
        "kept": [[2, 0.4]],
    }
