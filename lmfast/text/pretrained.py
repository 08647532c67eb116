"""Published tokenizers by name: tiktoken's encodings, and repositories of the Hugging Face hub.

A rank file is looked for in the folder named by LMFAST_VOCAB_DIR, then in the user's cache ($XDG_CACHE_HOME or
~/.cache, lmfast/vocab), and is then downloaded into the cache, unless LMFAST_OFFLINE is 1. Wherever it comes from, its
SHA-256 has to be the published one. Nothing here is ever called by an encode.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

from lmfast.files import atomic_write
from lmfast.text.formats import MAX_FILE_BYTES, tiktoken
from lmfast.text.formats.published import DOWNLOADS, Download
from lmfast.text.spec import TokenizerFileError
from lmfast.text.tokenizer import Tokenizer

__all__ = ["from_pretrained", "get_encoding", "list_encoding_names"]

TIMEOUT_S = 30.0
"""How long the server may say nothing before a download is given up."""


def list_encoding_names() -> list[str]:
    """The names that `get_encoding` knows, those of tiktoken 0.14.0."""
    return sorted(DOWNLOADS)


def get_encoding(name: str) -> Tokenizer:
    """The tokenizer that tiktoken 0.14.0 has under this name: same ranks, same pattern, same special tokens.

    Errors: ValueError for an unknown name; TokenizerFileError where a file has another SHA-256 than the published one;
    OSError where no file is found and none can be downloaded: the message says what to do.
    """
    if name not in DOWNLOADS:
        raise ValueError(f"encoding {name!r} is not known: want one of {', '.join(list_encoding_names())}")
    data, where = _rank_file(DOWNLOADS[name])
    return Tokenizer(tiktoken.read_bytes(data, where=where, pattern=name, name=name))


def from_pretrained(name: str, *, revision: str | None = None, token: str | None = None) -> Tokenizer:
    """The tokenizer of a repository of the Hugging Face hub (its `tokenizer.json`), or of a folder that holds one.

    revision and token are handed to huggingface_hub, whose cache is used; LMFAST_OFFLINE=1 keeps it off the network.
    Errors: ImportError without huggingface_hub, whatever it raises where the file cannot be had, and those of
    `lmfast.Tokenizer.from_file`.
    """
    if os.path.isdir(name):
        return Tokenizer.from_file(os.path.join(name, "tokenizer.json"))
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ImportError('from_pretrained needs huggingface_hub: pip install "lmfast-kernels[hub]"') from error
    path = hf_hub_download(name, "tokenizer.json", revision=revision, token=token, local_files_only=_offline())
    return Tokenizer.from_file(path)


def _offline() -> bool:
    return os.environ.get("LMFAST_OFFLINE", "0") not in ("", "0")


def _cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lmfast" / "vocab"


def _rank_file(download: Download) -> tuple[bytes, str]:
    """The contents of a rank file, and where it was found."""
    named = os.environ.get("LMFAST_VOCAB_DIR")
    folders = [Path(named)] if named else []
    for folder in [*folders, _cache_dir()]:
        path = folder / download.file
        if path.is_file():
            data = path.read_bytes()
            _check_hash(data, download, str(path))
            return data, str(path)
    if _offline():
        raise FileNotFoundError(_advice(download, "LMFAST_OFFLINE is set, so it is not downloaded"))
    from http.client import HTTPException

    try:
        data = _fetch(download.url)
    except (OSError, HTTPException) as error:
        raise ConnectionError(_advice(download, f"downloading failed: {error}")) from error
    _check_hash(data, download, download.url)
    _keep(data, _cache_dir() / download.file)
    return data, download.url


def _fetch(url: str) -> bytes:
    from urllib.request import urlopen  # not before: it takes longer than all else here

    with urlopen(url, timeout=TIMEOUT_S) as response:
        data: bytes = response.read(MAX_FILE_BYTES + 1)
        missing = response.length or 0  # a chunked answer has no length and raises by itself
    if len(data) > MAX_FILE_BYTES:
        raise OSError(f"{url} sends more than {MAX_FILE_BYTES} bytes")
    if missing:
        raise OSError(f"{url} stopped {missing} bytes before its end")
    return data


def _keep(data: bytes, path: Path) -> None:
    """Put a downloaded file into the cache; a cache that cannot be written costs a warning and no more."""
    try:
        path.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        with atomic_write(path) as file:
            file.write(data)
    except OSError as error:
        warnings.warn(f"{path} cannot be written ({error}): it will be downloaded again", RuntimeWarning, stacklevel=4)


def _check_hash(data: bytes, download: Download, where: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != download.sha256:
        raise TokenizerFileError(
            f"{where}: the SHA-256 of these {len(data)} bytes is {found}, the published file's is {download.sha256}; "
            "a vocabulary of your own is read by lmfast.Tokenizer.from_file"
        )


def _advice(download: Download, reason: str) -> str:
    named = os.environ.get("LMFAST_VOCAB_DIR")
    return (
        f"{download.file} is neither in LMFAST_VOCAB_DIR ({named or 'not set'}) nor in {_cache_dir()}; {reason}. "
        f"Get {download.url} on a machine that can (SHA-256 {download.sha256}), put it into a folder and name that "
        "folder in the environment variable LMFAST_VOCAB_DIR"
    )
