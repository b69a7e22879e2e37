"""The contrastive learning penalty."""

from collections.abc import Iterable

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.merged_forward import embed_columns
from torch import Tensor, nn
from torch.nn import functional

from service.errors import TrainingError


class ContrastiveLearningPenaltyLoss(nn.Module):
    """InfoNCE over a group of one positive and its negatives, and a penalty on moved negatives.

    Pushing a negative away from this query also pushes it away from the queries that it does
    answer. The penalty holds it near one of these:

        L = (1 - lambda) * InfoNCE + lambda * (1 - 1/n * sum_j cos(d_j, q_j))
        InfoNCE = -log(exp(cos(q, p) / tau) / (exp(cos(q, p) / tau) + sum_j exp(cos(q, d_j) / tau)))

    for a query q, its positive p, its negatives d_1 ... d_n, and for each of them a query q_j that
    it answers; mean over the batch. With lambda 0 it is InfoNCE alone and takes no q_j. Negatives
    are those of the group alone: other rows of the batch are none.

    References:
        Jeongsu Yu, "Efficient fine-tuning methodology of text embedding models for information
        retrieval: contrastive learning penalty (CLP)", https://arxiv.org/abs/2412.17364.

    Inputs:
        | texts                                                    | labels |
        |----------------------------------------------------------|--------|
        | (query, positive, negative_1 ... negative_n)             | none   |
        | (the same, negative_1's query ... negative_n's query)    | none   |

        The first row where lambda is 0, the second where it is above.
    """

    def __init__(
        self, model: SentenceTransformer, temperature: float = 0.02, penalty: float = 0.1
    ) -> None:
        """`temperature` is tau, above 0; `penalty` is lambda, from 0 to 1."""
        super().__init__()
        self.model = model
        self.temperature, self.penalty = temperature, penalty

    def forward(
        self,
        sentence_features: Iterable[dict[str, Tensor]],
        labels: Tensor | None = None,  # noqa: ARG002 - the trainer gives it to every loss
    ) -> Tensor:
        """The loss of a batch, a scalar. Raises `TrainingError` for a wrong number of columns."""
        columns = list(sentence_features)
        negatives = self._negatives(len(columns))
        # Short texts by themselves, long ones by themselves: padding is work.
        queries = embed_columns(self.model, [columns[0], *columns[2 + negatives :]], False)
        passages = embed_columns(self.model, columns[1 : 2 + negatives], False)
        query, *own = (functional.normalize(q.float(), dim=-1) for q in queries)
        right, *wrong = (functional.normalize(p.float(), dim=-1) for p in passages)
        return self.from_vectors(query, right, wrong, own)

    def from_vectors(
        self, query: Tensor, positive: Tensor, negatives: list[Tensor], own_queries: list[Tensor]
    ) -> Tensor:
        """The same of unit vectors, each (batch, dim)."""
        cosines = torch.stack([(query * p).sum(-1) for p in (positive, *negatives)], dim=1)
        first = torch.zeros(len(query), dtype=torch.long, device=query.device)
        contrast = functional.cross_entropy(cosines / self.temperature, first)
        if not self.penalty:
            return contrast
        near = torch.stack(
            [(d * q).sum(-1) for d, q in zip(negatives, own_queries, strict=True)], dim=1
        )
        return (1 - self.penalty) * contrast + self.penalty * (1 - near.mean())

    def _negatives(self, columns: int) -> int:
        count, odd = divmod(columns - 2, 2) if self.penalty else (columns - 2, 0)
        if count < 1 or odd:
            wanted = "and a query for each negative" if self.penalty else "and nothing else"
            raise TrainingError(
                f"{columns} columns do not fit: query, positive, at least one negative, {wanted}"
            )
        return count
