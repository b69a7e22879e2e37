"""A cross-encoder's second head: what the first layers alone make of a pair.

Leaving a deep model early for what is clearly irrelevant: Xin, Nogueira, Yu and Lin, "Early Exiting
BERT for Efficient Document Ranking" (SustaiNLP 2020).
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from service.errors import ModelSourceError

WEIGHTS = "early_head.safetensors"

LAYER, SEPARATOR = "early_layer", "early_separator"
"""In `config.json`: how many layers the early head stands behind, 0 or missing without one; and the
id of the token between the two texts."""

_NAME = "early_head"

_SCALE, _CENTER = 20.0, 0.5
"""What a new head makes of the mean best match, which is about 0.4 for a pair of E5's."""

_NEVER = -1e4


class EarlyHead(nn.Module):
    """logit = classifier(pooled) + scale x (sum over query tokens of weight x best match - center).

    `classifier` and its pooler read the first token's state, as those of a
    `BertForSequenceClassification` do at its end. So early it says little: the layers that gather
    in it what they found are still to come. What the texts have in common is compared here
    instead, by late interaction (Khattab and Zaharia, "ColBERT", SIGIR 2020): a query token's best
    match is the highest cosine of its projected state with that of a passage token. Weights are a
    query's own and sum to 1.
    """

    def __init__(self, config: Any, layer: int, separator: int) -> None:
        """For a model with this configuration of transformers; each query token counts alike."""
        super().__init__()
        hidden = config.hidden_size
        self.layer, self.separator = layer, separator
        self._padding = config.pad_token_id or 0
        self.dense = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(hidden, 1)
        self.project = nn.Linear(hidden, hidden, bias=False)
        self.importance = nn.Linear(hidden, 1, bias=False)
        self.scale = nn.Parameter(torch.tensor(_SCALE))
        self.center = nn.Parameter(torch.tensor(_CENTER))
        nn.init.eye_(self.project.weight)
        nn.init.zeros_(self.importance.weight)

    def forward(self, states: Tensor, ids: Tensor) -> Tensor:
        """States (n, tokens, hidden) behind the layer and token ids (n, tokens) -> logits (n,)."""
        pooled = self.dropout(torch.tanh(self.dense(states[:, 0])))
        logits = self.classifier(pooled)[:, 0].float()
        with torch.autocast(states.device.type, enabled=False):
            match = self._match(states.to(self.project.weight.dtype), ids)
            logits = logits + self.scale.float() * (match - self.center.float())
        found: Tensor = logits
        return found

    def _match(self, states: Tensor, ids: Tensor) -> Tensor:
        """The weighted mean of the best matches, float32 (n,), -1 to 1."""
        texts = (ids != self.separator) & (ids != self._padding)
        after = (ids == self.separator).cumsum(1) > 0
        asked, told = texts & ~after, texts & after
        asked[:, 0] = False
        longest = max(1, int(asked.sum(1).max())) + 1  # all texts of queries begin alike
        first = states[:, :longest]
        projected = normalize(self.project(states).float(), dim=-1)
        cosines = projected[:, :longest] @ projected.transpose(1, 2)
        best = cosines.masked_fill(~told[:, None, :], -1.0).amax(2)
        weights = self.importance(first)[:, :, 0].float()
        weights = weights.masked_fill(~asked[:, :longest], _NEVER).softmax(1)
        match: Tensor = (weights * best).sum(1)
        return match


def early_head_of(classifier: Any) -> EarlyHead | None:
    """The early head that a sequence classifier of transformers carries."""
    head = getattr(classifier, _NAME, None)
    return head if isinstance(head, EarlyHead) else None


def carry(classifier: Any, head: EarlyHead | None) -> None:
    """Make `head` a part of a sequence classifier, in the place of any other; None takes it off.

    The classifier's own file is the same with and without.
    """
    setattr(classifier, _NAME, head)
    setattr(classifier.config, LAYER, head.layer if head else 0)
    setattr(classifier.config, SEPARATOR, head.separator if head else 0)
    names = {f"{_NAME}.{name}" for name in head.state_dict()} if head else set()
    classifier._keys_to_ignore_on_save = {*(classifier._keys_to_ignore_on_save or ()), *names}


def new_head(classifier: Any, layer: int, separator: int) -> EarlyHead:
    """One whose pooler and classifier start as copies of those at the end.

    `separator` is the id of the token between the texts.

    Raises `ModelSourceError` for a classifier whose head is of another make than BERT's, or that
    has not more than `layer` layers, and for a `layer` below 1.
    """
    config = classifier.config
    try:
        last, layers = classifier.base_model.pooler.dense, len(classifier.base_model.encoder.layer)
        head = EarlyHead(config, layer, separator)
        head.dense.load_state_dict(last.state_dict())
        head.classifier.load_state_dict(classifier.classifier.state_dict())
    except (AttributeError, RuntimeError) as error:
        raise ModelSourceError("an early head needs a classifier of BERT's make") from error
    if not 0 < layer < layers:
        raise ModelSourceError(
            f"an early head stands behind layer 1 to {layers - 1} of {layers}, not {layer}"
        )
    return head.to(last.weight.device)


def load_head(folder: Path, classifier: Any) -> EarlyHead | None:
    """The early head of the model in `folder`; None where it has none.

    Raises `ModelSourceError` where there is one that cannot be read or does not fit.
    """
    layer = getattr(classifier.config, LAYER, 0)
    if not layer:
        return None
    path = folder / WEIGHTS
    try:
        tensors = load_file(path)
        head = new_head(classifier, int(layer), int(getattr(classifier.config, SEPARATOR)))
        head.load_state_dict(tensors)
    except (OSError, SafetensorError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ModelSourceError(f"{path} is no early head of this model: {error}") from error
    return head


def save_head(classifier: Any, folder: Path) -> None:
    """Write the early head beside the classifier in `folder`, where it carries one."""
    head = early_head_of(classifier)
    if head is not None:
        tensors = {name: t.detach().cpu().contiguous() for name, t in head.state_dict().items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
