"""The published rank files: where each is, its hash, how many ranks it holds and which special tokens go with it.

A rank file says nothing of its split pattern or its special tokens, so what is known about the well-known ones stands
here. Sources: `tiktoken_ext.openai_public` of tiktoken 0.14.0 (URLs, hashes, tokens), the tokenizer of Llama 3, the
tokenizer of Qwen 2.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DOWNLOADS", "SPECIAL_TOKENS", "Download"]

_END, _END_OF_PROMPT = "<|endoftext|>", "<|endofprompt|>"


def _fill(first: int) -> dict[str, int]:
    return {"<|fim_prefix|>": first, "<|fim_middle|>": first + 1, "<|fim_suffix|>": first + 2}


@dataclass(frozen=True, slots=True)
class Download:
    """A rank file on the public server, and the hash it must have."""

    file: str
    sha256: str

    @property
    def url(self) -> str:
        return f"https://openaipublic.blob.core.windows.net/encodings/{self.file}"


_R50K = Download("r50k_base.tiktoken", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930")
_P50K = Download("p50k_base.tiktoken", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069")
_CL100K = Download("cl100k_base.tiktoken", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7")
_O200K = Download("o200k_base.tiktoken", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d")

DOWNLOADS: dict[str, Download] = {
    "gpt2": _R50K,
    "r50k_base": _R50K,
    "p50k_base": _P50K,
    "p50k_edit": _P50K,
    "cl100k_base": _CL100K,
    "o200k_base": _O200K,
    "o200k_harmony": _O200K,
}
"""Encoding names of tiktoken and the file of each. gpt2's own files hold the same ranks as r50k_base's."""


def _llama3() -> dict[str, int]:
    named = {0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id", 9: "eot_id"}
    reserved = iter(range(251))
    return {f"<|{named.get(i) or f'reserved_special_token_{next(reserved)}'}|>": 128_000 + i for i in range(256)}


def _harmony() -> dict[str, int]:
    named = {
        199_998: "startoftext",
        199_999: "endoftext",
        200_002: "return",
        200_003: "constrain",
        200_005: "channel",
        200_006: "start",
        200_007: "end",
        200_008: "message",
        200_012: "call",
    }
    tokens = {f"<|{named.get(i) or f'reserved_{i}'}|>": i for i in range(199_998, 201_088)}
    # <|endofprompt|> and <|reserved_200018|> are two names of one id in tiktoken; the first is the one that o200k has.
    del tokens["<|reserved_200018|>"]
    return tokens | {_END_OF_PROMPT: 200_018}


_GPT2_TOKENS = (50_256, {_END: 50_256})
_CL100K_TOKENS = (100_256, {_END: 100_257, **_fill(100_258), _END_OF_PROMPT: 100_276})
_O200K_TOKENS = (199_998, {_END: 199_999, _END_OF_PROMPT: 200_018})
_QWEN2_TOKENS = (151_643, {_END: 151_643, "<|im_start|>": 151_644, "<|im_end|>": 151_645})

SPECIAL_TOKENS: dict[str, tuple[int, dict[str, int]]] = {
    "gpt2": _GPT2_TOKENS,
    "r50k_base": _GPT2_TOKENS,
    "p50k_base": (50_280, {_END: 50_256}),
    "p50k_edit": (50_280, {_END: 50_256, **_fill(50_281)}),
    "cl100k_base": _CL100K_TOKENS,
    "cl100k": _CL100K_TOKENS,
    "o200k_base": _O200K_TOKENS,
    "o200k": _O200K_TOKENS,
    "o200k_harmony": (199_998, _harmony()),
    "llama3": (128_000, _llama3()),
    "qwen2": _QWEN2_TOKENS,
    "qwen": _QWEN2_TOKENS,
}
"""Pattern names: the number of ranks of the vocabulary they were made for, and its special tokens."""
