"""Keep what a full training came to: its figures as JSON, its card, and its loss curve.

    python benchmarks/record_training.py runs/smart-binary "secondpass train smart-binary ..."

writes `benchmarks/results/<recipe>.json`, `docs/cards/<recipe>.md` and `docs/cards/<recipe>.png`.
"""

import argparse
import json
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def record(folder: Path, command: str, name: str | None = None) -> Path:
    """Copy from a finished folder; returns the JSON file."""
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    name = name or training["recipe"]["name"]
    result = ROOT / "benchmarks" / "results" / f"{name}.json"
    text = json.dumps({"command": command, **training}, indent=2, ensure_ascii=False)
    result.write_text(text + "\n", encoding="utf-8")
    cards = ROOT / "docs" / "cards"
    cards.mkdir(parents=True, exist_ok=True)
    card = (folder / "README.md").read_text(encoding="utf-8")
    card = card.replace("(loss.png)", f"({name}.png)") + f"\n```sh\n{command}\n```\n"
    (cards / f"{name}.md").write_text(card, encoding="utf-8")
    shutil.copyfile(folder / "loss.png", cards / f"{name}.png")
    return result


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("command")
    parser.add_argument("--name", default=None)
    given = parser.parse_args()
    record(given.folder, given.command, given.name)


if __name__ == "__main__":
    main()
