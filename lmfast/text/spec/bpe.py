"""Byte-pair encoding, the model of rank files; the other models are in `models`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmfast.text.spec.vocab import Vocab

__all__ = ["BPE", "check_unk"]


@dataclass(frozen=True, eq=False)
class BPE:
    """Byte-pair encoding by ranks or by a list of merges, over bytes or over characters.

    merges          uint32[m, 2] pairs of ids, in the order in which they apply (first = strongest), each naming two
                    tokens whose concatenation is a token (the second one without its `continuing_subword_prefix`).
                    None: a rank file, where any two neighbours whose concatenation is a token merge, the lowest id
                    first; only with `byte_level`.
    ignore_merges   a piece that is a token is that token, whatever the merges say. Always so in a rank file.
    byte_level      tokens are bytes, and all single bytes are tokens; only those that UTF-8 never has (C0, C1, F5..FF)
                    may be missing, and then text that is not UTF-8 may have no ids. The fields below are at their
                    defaults: nothing is unknown, and there are no affixes.

    With `byte_level=False` a token is text, and merging begins with the characters of a piece:

    unk_id                      what a character without a token becomes; None: it is left out
    fuse_unk                    neighbouring unknown characters become one `unk_id`
    byte_fallback               a character without a token becomes the tokens `<0x00>`...`<0xFF>` of its UTF-8, if all
                                of them are there
    continuing_subword_prefix   what stands before every character but the first when it is looked up
    end_of_word_suffix          what stands behind the last character of a piece when it is looked up
    dropout                     the probability, in [0, 1], with which a merge is passed over. Ids are random then; 0
                                where the caller asks for nothing
    """

    vocab: Vocab
    merges: NDArray[np.uint32] | None = None
    ignore_merges: bool = True
    byte_level: bool = True
    unk_id: int | None = None
    fuse_unk: bool = False
    byte_fallback: bool = False
    continuing_subword_prefix: str = ""
    end_of_word_suffix: str = ""
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.merges is not None:
            merges = np.array(self.merges, np.uint32, order="C")
            if merges.ndim != 2 or merges.shape[1] != 2:
                raise ValueError(f"merges: want shape (m, 2), got {merges.shape}")
            merges.flags.writeable = False
            object.__setattr__(self, "merges", merges)
        if not self.byte_level and self.merges is None:
            raise ValueError("merges: None means a rank file, which is byte-level; byte_level is False")
        if not 0.0 <= self.dropout <= 1.0:
            raise ValueError(f"dropout = {self.dropout}; want a probability in [0, 1]")
        if self.byte_level and (
            self.unk_id is not None
            or self.fuse_unk
            or self.byte_fallback
            or self.continuing_subword_prefix
            or self.end_of_word_suffix
        ):
            raise ValueError("unk_id, fuse_unk, byte_fallback and affixes have no meaning where byte_level is True")
        check_unk(self.vocab, self.unk_id)


def check_unk(vocab: Vocab, unk_id: int | None) -> None:
    """Errors: ValueError for an id that is no token's."""
    if unk_id is not None and vocab.find(unk_id) is None:
        raise ValueError(f"unk_id = {unk_id} is no token")
