"""`lmfast demo`: a tokenizer made, used, checked and compared, on text that every Python brings along."""

from __future__ import annotations

import os
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from html import escape
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lmfast
from lmfast.files import atomic_write
from lmfast.info import info
from lmfast.text.spec import Split, TokenizerSpec
from lmfast.text.train import train_bpe

__all__ = ["run"]

PATTERN = "gpt2"
REPEATS = 3
SLOW_BYTES = 2_000_000
"""Peers that need a tenth of a second per megabyte get this much of the corpus."""


def run(
    out: str | os.PathLike[str] = "lmfast-demo",
    *,
    max_bytes: int = 12_000_000,
    train_bytes: int = 1_500_000,
    vocab_size: int = 4096,
) -> dict[str, Any]:
    """Train a small byte-level BPE tokenizer on Python's standard library, and show what it does.

    Encodes and decodes up to `max_bytes` of it, checks that every file comes back, compares ids and speed with the
    peers that are installed, and prints a table. Writes tokenizer.json, demo.tiktoken and demo.svg into the folder
    `out`. Returns what the table says. Errors: RuntimeError if a file does not come back or a peer gives other ids.
    """
    # Local: the reference is not for those who import lmfast.demo only for its name.
    from lmfast.reference.text import bigram_entropy

    began = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    texts = standard_library(max_bytes)
    n_bytes = sum(len(text.encode()) for text in texts)
    isa: Any = info()["isa"]
    say(f"lmfast {lmfast.__version__} with {isa['chosen']}, Python {sys.version.split()[0]}\n")
    say(f"corpus      {len(texts):,} files of Python's standard library, {n_bytes / 1e6:.1f} MB")

    sample = texts[:: max(1, round(n_bytes / train_bytes))]
    start = time.perf_counter()
    tokenizer = train_bpe(sample, vocab_size, pattern=PATTERN)
    spec = tokenizer.spec
    seconds = time.perf_counter() - start
    sample_mb = sum(len(text.encode()) for text in sample) / 1e6
    say(f"training    {len(spec.model.vocab):,} tokens from {sample_mb:.1f} MB in {seconds:.2f} s")

    documents = [text.encode() for text in texts]
    encoded, speed = time_passes(lambda part: tokenizer.encode_batch(part, threads=1), documents)
    ids = encoded.ids
    for document, own in zip(documents, encoded, strict=True):
        if tokenizer.decode_bytes(own) != document:
            raise RuntimeError(f"round trip failed on the document that begins with {document[:60]!r}")
    entropy = float(bigram_entropy(ids))
    say(f"encoding    {len(ids):,} tokens, {n_bytes / len(ids):.2f} bytes per token")
    say(f"round trip  {len(documents):,} of {len(documents):,} files come back byte for byte")
    say(f"entropy     {entropy:.2f} bits per token given the one before: perplexity {2**entropy:.1f}")

    tokenizer.save(folder / "tokenizer.json")
    tokenizer.save(folder / "demo.tiktoken")
    rows = [{"name": f"lmfast {lmfast.__version__}", "bytes": n_bytes, **speed}]
    for name, prepare in PEERS.items():
        try:
            import_module(name)
        except ImportError:
            continue
        encode, flat, budget = prepare(spec, folder)
        part = up_to(texts, budget or n_bytes)
        theirs, speed = time_passes(encode, part)
        want = ids[: int(encoded.offsets[len(part)])]
        if not np.array_equal(flat(theirs), want):
            raise RuntimeError(f"{name} gives other ids")
        rows.append({"name": f"{name} {version(name)}", "bytes": sum(len(text.encode()) for text in part), **speed})

    say("\n" + table(rows))
    lengths = np.bincount(np.diff(tokenizer.spec.model.vocab.offsets)[np.searchsorted(spec.model.vocab.ids, ids)])
    with atomic_write(folder / "demo.svg", "w") as stream:
        stream.write(svg(rows, lengths))
    absent = ", ".join(name for name in PEERS if not any(str(row["name"]).startswith(name) for row in rows))
    say("\nOne thread each" + (", all ids equal." if len(rows) > 1 else "."))
    if absent:
        say(f"Not installed, or they would be compared too: {absent}.")
    say(f"Wrote tokenizer.json, demo.tiktoken and demo.svg into {folder}, in {time.perf_counter() - began:.1f} s.")
    return {"bytes": n_bytes, "files": len(texts), "tokens": len(ids), "entropy": entropy, "rows": rows}


def say(line: str) -> None:
    print(line, flush=True)


def standard_library(max_bytes: int) -> list[str]:
    """The .py files of the running Python's standard library that are UTF-8, by path, up to `max_bytes` of text."""
    root = Path(sysconfig.get_paths()["stdlib"])
    texts, left = [], max_bytes
    for path in sorted(root.rglob("*.py")):
        if {"site-packages", "dist-packages"}.isdisjoint(path.relative_to(root).parts):
            try:
                text = path.read_bytes().decode()
            except (OSError, UnicodeDecodeError):
                continue
            if len(text.encode()) <= left:
                texts.append(text)
                left -= len(text.encode())
    if not texts:
        raise RuntimeError(f"no .py files under {root}: this Python comes without the text of its library")
    return texts


def up_to(texts: Sequence[str], budget: int) -> list[str]:
    """The first texts, as many as have `budget` bytes together; one at least."""
    sizes = np.cumsum([len(text.encode()) for text in texts])
    return list(texts[: max(1, int(np.searchsorted(sizes, budget, side="right")))])


def time_passes(encode: Callable[[Any], Any], documents: Sequence[Any]) -> tuple[Any, dict[str, float]]:
    """The result of `encode(documents)`, and MB/s of its first pass and of the median of a few more."""
    size = sum(len(d if isinstance(d, bytes) else d.encode()) for d in documents) / 1e6
    times, first = [], None
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        result = encode(documents)
        times.append(time.perf_counter() - start)
        first = result if first is None else first
    return first, {"first": size / times[0], "repeat": size / statistics.median(times[1:])}


Peer = tuple[Callable[[Any], Any], Callable[[Any], "NDArray[Any]"], "int | None"]
"""Encodes a list of texts; makes one flat array of what that gave; the bytes to give it (None: all)."""


def gigatoken(spec: TokenizerSpec, folder: Path) -> Peer:
    import gigatoken

    peer = gigatoken.Tokenizer.from_tiktoken(folder / "demo.tiktoken", PATTERN)
    return lambda texts: peer.encode_batch(texts, parallel=False), lambda out: np.asarray(flatten(out)), None


def flatten(rows: Any) -> NDArray[Any]:
    return np.concatenate([np.asarray(row, np.int64) for row in rows])


def tiktoken(spec: TokenizerSpec, folder: Path) -> Peer:
    import tiktoken

    split = spec.pre_tokenizer[0]
    assert isinstance(split, Split)
    peer = tiktoken.Encoding("demo", pat_str=split.pattern, mergeable_ranks=dict(spec.model.vocab), special_tokens={})
    return lambda texts: [peer.encode_ordinary(text) for text in texts], flatten, SLOW_BYTES


def tokenizers(spec: TokenizerSpec, folder: Path) -> Peer:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import tokenizers

    peer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda texts: peer.encode_batch_fast(texts), lambda out: flatten(e.ids for e in out), SLOW_BYTES


PEERS: dict[str, Callable[[TokenizerSpec, Path], Peer]] = {
    "gigatoken": gigatoken,
    "tiktoken": tiktoken,
    "tokenizers": tokenizers,
}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a library: its sample, MB/s of the first pass and of a repeat, and a bar of the repeat."""
    full = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    most = max(row["repeat"] for row in rows)
    lines = [f"{'MB/s':<20}{'sample':>9}{'first':>9}{'repeat':>9}"]
    for row in rows:
        bar = full * max(1, round(24 * row["repeat"] / most))
        sample = f"{row['bytes'] / 1e6:.1f} MB"
        lines.append(f"{row['name']:<20}{sample:>9}{row['first']:>9.1f}{row['repeat']:>9.1f}  {bar}")
    return "\n".join(lines)


def svg(rows: Sequence[dict[str, Any]], lengths: NDArray[Any]) -> str:
    """Two charts: MB/s by library, and how many of the encoded tokens have 1, 2, ... bytes."""
    ink, soft, blue, light = "#1f2933", "#7b8794", "#2563eb", "#bfdbfe"
    parts = []

    def text(x: float, y: float, words: str, size: int = 13, fill: str = ink, anchor: str = "start") -> None:
        style = f'font-size="{size}" fill="{fill}" text-anchor="{anchor}"'
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>')

    def bar(x: float, y: float, width: float, height: float, fill: str) -> None:
        box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        parts.append(f'<rect {box} rx="2" fill="{fill}"/>')

    text(30, 40, "Encoding speed, MB/s, one thread", 17)
    text(30, 60, "dark: a repeat pass, light: the first pass", 12, soft)
    most = max(max(row["first"], row["repeat"]) for row in rows)
    y = 80.0
    for row in rows:
        text(150, y + 19, row["name"], anchor="end")
        for key, fill, at in (("repeat", blue, y), ("first", light, y + 15)):
            bar(160, at, max(1.0, 380 * row[key] / most), 13, fill)
            text(166 + max(1.0, 380 * row[key] / most), at + 11, f"{row[key]:.1f}", 11, soft)
        y += 42

    shown = lengths[1:17].astype(float) / max(1, lengths.sum())
    text(30, y + 40, "Token length, bytes", 17)
    text(30, y + 60, "share of the tokens of the encoded corpus; those not shown are longer", 12, soft)
    base, width = y + 200, 540 / max(1, len(shown))
    for i, share in enumerate(shown):
        height = 105 * share / shown.max()
        bar(30 + i * width, base - height, width - 4, height, blue)
        text(30 + i * width + width / 2 - 2, base + 16, str(i + 1), 11, soft, "middle")
        text(30 + i * width + width / 2 - 2, base - height - 5, f"{100 * share:.0f}%", 11, soft, "middle")
    size = f'width="620" height="{base + 40:.0f}" viewBox="0 0 620 {base + 40:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])
