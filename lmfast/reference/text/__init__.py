"""The truth of the text domain, a module for each family of tokenizers and each trainer.

merges       how merges are learnt from counted words
byte_level   texts to ids and back by a `TokenizerSpec`, byte-level BPE, and its training
families     the same functions for a spec of any family
pipeline     the families of Hugging Face, step by step
sentencepiece  models of sentencepiece (a module of its own names)
unigram_train  how a Unigram model is learnt from counted words (a module of its own names)
wordpiece    BERT's normalizer and words, WordPiece and WordLevel, and the way back (a module of its own names)
"""

from lmfast.reference.text.byte_level import (
    apply_merge,
    bigram_entropy,
    characters,
    merge,
    merge_long,
    pair_counts,
    split,
    train_bpe,
)
from lmfast.reference.text.families import count, decode, decode_bytes, encode, encode_with_offsets, truncate
from lmfast.reference.text.merges import Merge, is_piece, learn_merges

__all__ = [
    "Merge",
    "apply_merge",
    "bigram_entropy",
    "characters",
    "count",
    "decode",
    "decode_bytes",
    "encode",
    "encode_with_offsets",
    "is_piece",
    "learn_merges",
    "merge",
    "merge_long",
    "pair_counts",
    "split",
    "train_bpe",
    "truncate",
]
