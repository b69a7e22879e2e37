"""Which calibration a collection uses: its own, the operator's, or a shipped one."""

import logging
import threading
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from service.confidence.calibration import Calibration, load_calibration, shipped_calibrations
from service.confidence.judge import Judge, Thresholds
from service.durable import write_text
from service.errors import ConflictError
from service.protocols import Reranker
from service.settings import Settings
from service.types import EncoderIdentity

log = logging.getLogger(__name__)

Origin = Literal["labels", "settings", "shipped"]


class _Kept(BaseModel):
    """Two calibrations that were fitted to the collection's labels; None is the server's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    current: Calibration | None = None
    previous: Calibration | None = None


class Calibrations:
    """The calibrations of one collection, for the models that are loaded. Any thread may call it.

    One that was fitted to the collection's labels comes first, if it fits the models; then the
    operator's (`settings.calibration`), or a shipped one. `path` has those fitted to labels: the
    current one, and the one before it.
    """

    def __init__(
        self, path: Path, settings: Settings, encoder: EncoderIdentity, reranker: Reranker | None
    ) -> None:
        """Raises `ModelSourceError` if the operator's artifact cannot be read."""
        self._path, self._settings, self._encoder = path, settings, encoder
        self._weights = reranker.weights_sha256 if reranker else None
        self._variant = reranker.variant if reranker else ""
        self._lock = threading.Lock()
        self._kept, self._problem = _read(path)
        self.base = self._base()
        """The server's own calibration, from which labels are fitted."""

    @property
    def current(self) -> Calibration | None:
        """What applies; it may be one that does not fit the reranker."""
        return self._kept.current if self.origin == "labels" else self.base

    @property
    def previous(self) -> Calibration | None:
        """What `restore` leads back to; None for the server's own, or for nothing."""
        return self._kept.previous

    @property
    def can_restore(self) -> bool:
        """Whether there is another calibration to go back to."""
        return self._kept.current is not None or self._kept.previous is not None

    @property
    def origin(self) -> Origin:
        """Where the current one comes from."""
        if self._kept.current is not None and self._fits(self._kept.current):
            return "labels"
        return "settings" if self._settings.calibration is not None else "shipped"

    @property
    def note(self) -> str | None:
        """What an operator should know."""
        if self._problem:
            return self._problem
        if self._kept.current is None or self._fits(self._kept.current):
            return None
        return (
            "the calibration that was fitted to labels belongs to other models and is not used: "
            "calibrate again"
        )

    def judge(self) -> Judge:
        """What says how sure a hit is, by the current calibration."""
        return self.judge_by(self.current)

    def judge_by(self, artifact: Calibration | None) -> Judge:
        """What would say it by `artifact`."""
        settings = self._settings
        return Judge(
            encoder=self._encoder,
            reranker_weights_sha256=self._weights,
            artifact=artifact,
            thresholds=Thresholds.of(
                artifact, settings.confidence_high, settings.confidence_medium
            ),
            weight_override=settings.rerank_weight,
            rerank_depth=settings.rerank_depth,
            reranker_variant=self._variant,
        )

    def keep(self, artifact: Calibration) -> None:
        """Let this one apply from now on, and after restarts. Raises `StoreError`."""
        with self._lock:
            self._write(_Kept(current=artifact, previous=self._kept.current))

    def restore(self) -> None:
        """Go back to the one before; called again, it undoes that.

        Raises `ConflictError` if there is none, and `StoreError`.
        """
        with self._lock:
            if not self.can_restore:
                raise ConflictError("there is no earlier calibration of this collection")
            self._write(_Kept(current=self._kept.previous, previous=self._kept.current))

    def _write(self, kept: _Kept) -> None:
        write_text(self._path, kept.model_dump_json(indent=2))
        self._kept, self._problem = kept, None

    def _fits(self, artifact: Calibration) -> bool:
        fits = artifact.fits_encoder(self._encoder)
        if self._weights is None:
            return fits
        return fits and artifact.fits_reranker(self._weights, self._variant)

    def _base(self) -> Calibration | None:
        """The operator's calibration, or a shipped one that fits the loaded models.

        One that fits only the encoder still has its cosine curve.
        """
        if self._settings.calibration is not None:
            return load_calibration(self._settings.calibration)
        fitting = [a for a in shipped_calibrations() if a.fits_encoder(self._encoder)]
        # The shares of an artifact hold for other variants of the reranker too, its curves do not.
        same = [a for a in fitting if a.fits_weights(self._weights)]
        exact = [a for a in same if a.fits_reranker(self._weights, self._variant)]
        return next(iter(exact or same or fitting), None)


def _read(path: Path) -> tuple[_Kept, str | None]:
    """What the file holds, and a note if it cannot be read: searches are worth more than it."""
    try:
        return _Kept.model_validate_json(path.read_text(encoding="utf-8")), None
    except FileNotFoundError:
        return _Kept(), None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        log.error("%s cannot be read, the server's own calibration is used: %s", path, error)
        return _Kept(), (
            "the calibration that was fitted to labels cannot be read and is not used: calibrate "
            "again, or restore calibration.json from a backup"
        )
