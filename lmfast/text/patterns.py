"""The split patterns that lmfast knows by name, and which of them have a hand-written splitter.

A splitter is chosen by the exact text of the pattern, so a pattern that differs by one character is never taken for
another: it becomes a table, or where it has none it goes through the `regex` package (exact, slower). Several texts may
mean the same splitter.
"""

from __future__ import annotations

__all__ = ["GPT2_PATTERN", "PATTERNS", "SPLITTERS", "splitter_of"]

_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What `ByteLevel` splits by when `use_regex` is true."""
_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA3 = _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_O200K = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}?",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)

PATTERNS: dict[str, str] = {
    "gpt2": _GPT2,
    "r50k_base": _GPT2,
    "p50k_base": _GPT2,
    "p50k_edit": _GPT2,
    "cl100k_base": _CL100K,
    "cl100k": _CL100K,
    "o200k_base": _O200K,
    "o200k": _O200K,
    "o200k_harmony": _O200K,
    "llama3": _LLAMA3,
    "qwen2": _QWEN2,
    "qwen": _QWEN2,
}
"""Pattern names and their regular expressions, as the libraries they come from state them."""

SPLITTERS: dict[str, str] = {
    _GPT2: "gpt2",
    GPT2_PATTERN: "gpt2",
    _CL100K: "cl100k",
    _LLAMA3: "llama3",
    _QWEN2: "qwen2",
    _O200K: "o200k",
}
"""Regular expressions and the name of the hand-written splitter that equals each."""


def splitter_of(pattern: str) -> str | None:
    """The name of the hand-written splitter for a regular expression, None where there is none."""
    return SPLITTERS.get(pattern)
