"""sentence-transformers in a process of its own, as a user would run it.

python -m benchmarks.growth.stock_encoder MODEL: of each line `{"texts": [...]}` the seconds that
`SentenceTransformer.encode` takes, and the threads that it has.
"""

import json
import sys
from time import perf_counter

import torch
from sentence_transformers import SentenceTransformer


def main() -> None:
    """Read lines until there are no more."""
    model = SentenceTransformer(sys.argv[1], device="cpu")
    for line in sys.stdin:
        texts = json.loads(line)["texts"]
        began = perf_counter()
        model.encode(texts, prompt="passage: ", normalize_embeddings=True)
        seconds = perf_counter() - began
        answer = {"seconds": seconds, "threads": torch.get_num_threads()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
