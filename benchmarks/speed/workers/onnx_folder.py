"""A cross-encoder's folder with its weights as ONNX, float32, for FlashRank.

python -m benchmarks.speed.workers.onnx_folder FOLDER OUT
"""

import shutil
import sys
import warnings
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def export(folder: Path, out: Path) -> None:
    """Write `out`, whole or not at all."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for file in folder.iterdir():
        if file.suffix in (".json", ".txt"):
            shutil.copyfile(file, unfinished / file.name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    sample = tokenizer([("a query", "a passage"), ("b", "c")], padding=True, return_tensors="pt")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of traced shapes, which are made dynamic below
        torch.onnx.export(
            model,
            tuple(sample[name] for name in INPUTS),
            str(unfinished / "model.onnx"),
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_axes={name: {0: "pairs", 1: "tokens"} for name in INPUTS}
            | {"logits": {0: "pairs"}},
            opset_version=17,
            dynamo=False,
        )
    unfinished.rename(out)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
