"""A model's folder with its weights as ONNX: `model.onnx` in float32 and `model_int8.onnx`.

The graph is fused by ONNX Runtime's own optimizer for transformers, then quantised dynamically.

python -m benchmarks.speed.workers.onnx_folder encoder|cross-encoder FOLDER OUT
"""

import json
import shutil
import sys
import warnings
from pathlib import Path

import torch
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

INPUTS = {
    "encoder": ("input_ids", "attention_mask"),
    "cross-encoder": ("input_ids", "attention_mask", "token_type_ids"),
}
MODELS = {"encoder": AutoModel, "cross-encoder": AutoModelForSequenceClassification}


class First(nn.Module):
    """A model's first output: states of the last layer, or logits."""

    def __init__(self, model: nn.Module, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.inputs = model, inputs

    def forward(self, *values: Tensor) -> Tensor:
        first: Tensor = self.model(**dict(zip(self.inputs, values, strict=True)))[0]
        return first


def export(kind: str, folder: Path, out: Path) -> None:
    """Write `out`, whole or not at all."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for file in folder.iterdir():
        if file.suffix in (".json", ".txt"):
            shutil.copyfile(file, unfinished / file.name)
    _special_tokens(folder, unfinished)
    plain, whole = unfinished / "plain.onnx", unfinished / "model.onnx"
    model = MODELS[kind].from_pretrained(folder, dtype=torch.float32).eval()
    inputs = INPUTS[kind]
    sample = AutoTokenizer.from_pretrained(folder)(
        ["a query", "a longer query"], padding=True, return_tensors="pt"
    )
    sample.setdefault("token_type_ids", torch.zeros_like(sample["input_ids"]))
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of traced shapes, which are made dynamic below
        torch.onnx.export(
            First(model, inputs),
            tuple(sample[name] for name in inputs),
            str(plain),
            input_names=list(inputs),
            output_names=["output"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in inputs}
            | {"output": {0: "texts"} | ({1: "tokens"} if kind == "encoder" else {})},
            opset_version=17,
            dynamo=False,
        )
    config = model.config
    fused = optimizer.optimize_model(
        str(plain),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
    )
    fused.save_model_to_file(str(whole))
    quantize_dynamic(
        whole,
        unfinished / "model_int8.onnx",
        per_channel=True,
        weight_type=QuantType.QInt8,
        # Shape inference does not know what the fused nodes give.
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    plain.unlink()
    unfinished.rename(out)


def _special_tokens(folder: Path, out: Path) -> None:
    """fastembed reads this file; newer models have its contents in the tokenizer's settings."""
    file = out / "special_tokens_map.json"
    if not file.exists():
        tokens = AutoTokenizer.from_pretrained(folder).special_tokens_map
        file.write_text(json.dumps(tokens), encoding="utf-8")


if __name__ == "__main__":
    export(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
