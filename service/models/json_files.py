"""The JSON files of a model's folder."""

import json
from pathlib import Path
from typing import Any

from service.errors import ModelSourceError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelSourceError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelSourceError(f"{path} is not a JSON object")
    return content
