"""WordPiece and WordLevel with BERT's normalizer and pre-tokenizer, as tokenizers 0.23.3 has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from lmfast.reference import unicode

__all__ = [
    "bert_normalize",
    "bert_words",
    "decode",
    "encode",
    "is_ideograph",
    "nmt",
    "space_words",
    "strip_accents",
    "whitespace_words",
    "word_level",
    "word_piece",
]

_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_NMT_SPACES = {*"\t\n\f\r\u1680\u2028\u2029\u2581\ufeff\ufffd", *map(chr, range(0x200B, 0x2010))}
_NMT_GONE = {*map(chr, [*range(1, 9), 0xB, *range(0xE, 0x20), 0x7F, 0x8F, 0x9F])}


def is_ideograph(character: str) -> bool:
    """Whether BERT calls it a Chinese character."""
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)


def strip_accents(text: str) -> str:
    """Without marks (StripAccents)."""
    return "".join(c for c in text if not unicode.is_mark_9(c))


def nmt(text: str) -> str:
    """Without some control characters; some characters are spaces (Nmt)."""
    return "".join(" " if c in _NMT_SPACES else c for c in text if c not in _NMT_GONE)


def bert_normalize(
    text: str,
    *,
    clean_text: bool = True,
    handle_chinese_chars: bool = True,
    strip_accents: bool | None = None,
    lowercase: bool = True,
) -> str:
    """The four steps of BertNormalizer in their order."""
    if clean_text:
        kept = (c for c in text if c in "\t\n\r" or not (c in "\0\ufffd" or unicode.is_other_8(c)))
        text = "".join(" " if unicode.is_space(c) else c for c in kept)
    if handle_chinese_chars:
        text = "".join(f" {c} " if is_ideograph(c) else c for c in text)
    if lowercase if strip_accents is None else strip_accents:
        text = "".join(c for c in unicode.nfd(text) if not unicode.is_nonspacing_8(c))
    return unicode.lowercase(text) if lowercase else text


def bert_words(text: str) -> list[str]:
    """What lies between white space, with each punctuation mark apart (BertPreTokenizer)."""
    return _runs(text, lambda c: "" if unicode.is_space(c) else "p" if unicode.is_punctuation_8(c) else "w", alone="p")


def whitespace_words(text: str) -> list[str]:
    r"""The matches of \w+|[^\w\s]+ (Whitespace)."""
    return _runs(text, lambda c: "" if unicode.is_space(c) else "w" if unicode.is_word(c) else "s")


def space_words(text: str) -> list[str]:
    """What lies between white space (WhitespaceSplit)."""
    return _runs(text, lambda c: "" if unicode.is_space(c) else "w")


def _runs(text: str, kind: Callable[[str], str], alone: str = "") -> list[str]:
    """The runs of characters of one kind, none for the empty kind; those of `alone` one by one."""
    words: list[str] = []
    before = ""
    for c in text:
        now = kind(c)
        if now and now == before and now != alone:
            words[-1] += c
        elif now:
            words.append(c)
        before = now
    return words


def word_piece(
    word: str,
    vocab: Mapping[str, int],
    unk_id: int | None,
    prefix: str = "##",
    max_input_chars_per_word: int = 100,
) -> list[int]:
    """The longest token that begins the word, then the longest that goes on, and so on; else `unk_id`."""
    ids: list[int] = []
    start = 0
    while start < len(word) <= max_input_chars_per_word:
        before = prefix if start else ""
        ends = (end for end in range(len(word), start, -1) if before + word[start:end] in vocab)
        end = next(ends, None)
        if end is None:
            break
        ids.append(vocab[before + word[start:end]])
        start = end
    return ids if start == len(word) else _unknown(word, unk_id)


def word_level(word: str, vocab: Mapping[str, int], unk_id: int | None) -> list[int]:
    """The token that is the whole word, or `unk_id`."""
    return [vocab[word]] if word in vocab else _unknown(word, unk_id)


def _unknown(word: str, unk_id: int | None) -> list[int]:
    if unk_id is None:
        raise ValueError(f"{word!r} has no id, and there is no unk_id")
    return [unk_id]


def encode(
    text: str,
    normalize: Callable[[str], str],
    words: Callable[[str], Sequence[str]],
    model: Callable[[str], Sequence[int]],
) -> list[int]:
    """The ids of a text."""
    return [i for word in words(normalize(text)) for i in model(word)]


def decode(tokens: Sequence[str], prefix: str = "##", cleanup: bool = True) -> str:
    """The text of tokens (the WordPiece decoder)."""
    return "".join(_decoded(token, i == 0, prefix, cleanup) for i, token in enumerate(tokens))


def _decoded(token: str, first: bool, prefix: str, cleanup: bool) -> str:
    if not first:
        token = token[len(prefix) :] if token.startswith(prefix) else " " + token
    if not cleanup:
        return token
    token = re.sub(r" ([.?!,])", r"\1", token).replace(" ' ", "'").replace(" n't", "n't").replace(" 'm", "'m")
    return re.sub(r" ('s|'ve|'re)", r"\1", token.replace(" do not", " don't"))
