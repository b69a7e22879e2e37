"""The threshold that a trained pair model carries in its folder."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ModelSourceError

PAIR_THRESHOLD_FILE = "pair_threshold.json"


class PairThreshold(BaseModel):
    """The similarity from which two queries mean the same, and where that was learned.

    `data` names the labels; `accuracy` (0 to 1) is the share of them that it tells right.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    threshold: float = Field(ge=-1.0, le=1.0, allow_inf_nan=False)
    metric: Literal["cosine"] = "cosine"
    data: Any = None
    accuracy: float | None = Field(None, ge=0.0, le=1.0)


def read_pair_threshold(folder: Path) -> PairThreshold | None:
    """What the model's folder says; None where it has no such file.

    Raises `ModelSourceError` where the file cannot be read or breaks a rule of `PairThreshold`.
    """
    path = folder / PAIR_THRESHOLD_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelSourceError(f"{path} cannot be read: {error}") from error
    try:
        return PairThreshold.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelSourceError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
