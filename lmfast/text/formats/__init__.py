"""Tokenizer files: which format a file has, and reading and writing it.

Files are hostile until they are read: each reader checks everything before it builds anything, in memory of a small
multiple of the file, and every failure is a TokenizerFileError that names the file and the place in it. A reader is
imported when a file needs it: all of them together take as long as reading a vocabulary.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from itertools import islice

from lmfast.text.spec import TokenizerFileError, TokenizerSpec

__all__ = ["MAX_FILE_BYTES", "read", "write"]

MAX_FILE_BYTES = 64 << 20
"""Larger files are refused; the largest tokenizer files in use have about 40 MB."""

_FORMATS = "a .tiktoken rank file, a Hugging Face tokenizer.json or a sentencepiece .model"


def read(
    path: str | os.PathLike[str],
    *,
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | None = None,
) -> TokenizerSpec:
    """The tokenizer in a file. The format is found from the content, not from the name.

    pattern         for a .tiktoken file: a name in `lmfast.text.patterns.PATTERNS`, or a regular expression
    special_tokens  for a .tiktoken file: content -> id; None means those that go with a named pattern

    Errors: TokenizerFileError (a ValueError) for a file that is damaged or not supported; ValueError for a pattern that
    is missing, unknown, or not wanted; OSError as `open` raises it.
    """
    where = os.fspath(path)
    with open(path, "rb", buffering=0) as file:
        # One read where the system knows the size; then in pieces, for a read reserves what it asks for.
        data = file.read(min(os.fstat(file.fileno()).st_size, MAX_FILE_BYTES) + 1)
        if rest := b"".join(islice(iter(partial(file.read, 1 << 20), b""), (MAX_FILE_BYTES >> 20) + 1)):
            data += rest
    if len(data) > MAX_FILE_BYTES:
        raise TokenizerFileError(f"{where}: larger than {MAX_FILE_BYTES} bytes, the limit for a tokenizer file")
    name, suffix = os.path.basename(where).removesuffix(".tokenizer.json"), os.path.splitext(where)[1]
    name = name.removesuffix(suffix) if suffix in (".json", ".model", ".tiktoken") else name
    start = data[:4096].lstrip()
    if not start:
        raise TokenizerFileError(f"{where}: the file is empty; want {_FORMATS}")
    if start[:1] == b"{" or start.startswith(b"\xef\xbb\xbf{") or suffix == ".json":
        if pattern is not None or special_tokens is not None:
            raise ValueError(f"{where}: a tokenizer.json holds its own pattern and special tokens; pass neither")
        from lmfast.text.formats import huggingface

        return huggingface.read_bytes(data, where=where, name=name)
    if suffix == ".model" or (data[:1] == b"\n" and re.search(rb"[^\t\n\r -~]", start)):  # field 1 of a message
        if pattern is not None or special_tokens is not None:
            raise ValueError(f"{where}: a sentencepiece model needs neither a pattern nor special tokens; pass neither")
        from lmfast.text.formats import sentencepiece

        return sentencepiece.read_bytes(data, where=where, name=name)
    if suffix == ".tiktoken" or re.match(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?(\n|$)", start):
        from lmfast.text.formats import tiktoken

        return tiktoken.read_bytes(data, where=where, pattern=pattern, special_tokens=special_tokens, name=name)
    formats = _FORMATS.replace(" or ", " nor ")
    raise TokenizerFileError(f"{where}: begins with {start[:16]!r}, which is neither {formats}")


def write(spec: TokenizerSpec, path: str | os.PathLike[str]) -> None:
    """Write a tokenizer in the format of the file name: `.tiktoken`, `.json`, `.model`. The file is whole or not there.

    Errors: ValueError for another suffix, or, with the reason, where the format cannot hold the tokenizer; OSError as
    `open` raises it.
    """
    from lmfast.files import atomic_write

    suffix = os.path.splitext(path)[1]
    if suffix == ".tiktoken":
        from lmfast.text.formats import tiktoken

        data = tiktoken.to_bytes(spec)
    elif suffix == ".json":
        from lmfast.text.formats import huggingface

        data = huggingface.to_bytes(spec)
    elif suffix == ".model":
        from lmfast.text.formats import sentencepiece

        data = sentencepiece.to_bytes(spec)
    else:
        raise ValueError(f"{os.fspath(path)}: want a file name that ends in .tiktoken, .json or .model")
    with atomic_write(path) as file:
        file.write(data)
