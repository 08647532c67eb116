"""`lmfast train`: what the command line says of training. What a command needs is imported when it runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lmfast.text.train import Ties
    from lmfast.text.words import Progress

__all__ = ["train"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def _size(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Turns 64M into 64,000,000."""
    if value is None:
        return None
    digits = value.rstrip("kKmMgG")
    unit = value[len(digits) :].lower()
    if not (digits.isascii() and digits.isdigit()) or unit not in _UNITS:
        raise click.BadParameter(f"{value!r}: want bytes, as in 500M or 2G")
    return int(digits) * _UNITS[unit]


@contextmanager
def _bars() -> Iterator[Callable[[Progress], object]]:
    """Bars on stderr, when that is a terminal: bytes counted, then merges made with the last token."""
    from tqdm import tqdm

    bars: dict[str, tqdm[object]] = {}

    def show(progress: Progress) -> None:
        counting = progress.stage == "count"
        bar = bars.get(progress.stage)
        if bar is None:
            for other in bars.values():
                other.close()
            unit = {"unit": "B", "unit_scale": True} if counting else {"unit": " merges"}
            bar = bars[progress.stage] = tqdm(
                total=progress.total, desc="counting" if counting else "merging", file=sys.stderr, **unit
            )
        if progress.token:
            bar.set_postfix_str(repr(progress.token.decode("utf-8", "replace")), refresh=False)
        bar.update(progress.done - bar.n)

    try:
        yield show if sys.stderr.isatty() else lambda _: None
    finally:
        for bar in bars.values():
            bar.close()


@click.group(short_help="Learn a tokenizer from text.")
def train() -> None:
    """Learn a tokenizer from text."""


@train.command(short_help="Byte-level byte-pair encoding.")
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--vocab-size", type=click.IntRange(min=1), metavar="N", required=True, help="Ids, special tokens included."
)
@click.option("-o", "--output", metavar="FILE", required=True, help="tokenizer.json, or a name that ends in .tiktoken.")
@click.option("--pattern", default="cl100k", show_default=True, help="How text is split: a name or a regex.")
@click.option(
    "--ties",
    type=click.Choice(["hf", "bytes", "first", "lexmax"]),
    default="hf",
    show_default=True,
    help="Which of equally frequent pairs comes first: as tokenizers, rustbpe, minbpe or subword-nmt has it.",
)
@click.option("--special-token", "special_tokens", metavar="TEXT", multiple=True, help="Repeatable.")
@click.option("--min-frequency", type=click.IntRange(min=0), default=0, metavar="N", help="Rarer pairs are not merged.")
@click.option("--max-token-length", type=click.IntRange(min=1), metavar="N", help="In bytes: tokens are shorter.")
@click.option("--separator", metavar="TEXT", help="Cut files into documents at this text, as '<|endoftext|>'.")
@click.option("--snapshot", "snapshots", type=click.IntRange(min=1), metavar="N", multiple=True, help="See below.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads to use. Default: all cores.")
@click.option(
    "--max-memory", metavar="SIZE", callback=_size, help="For counting, as in 500M; past it a temporary file."
)
@click.option("-q", "--quiet", is_flag=True, help="No summary on stderr.")
def bpe(
    files: tuple[str, ...],
    vocab_size: int,
    output: str,
    pattern: str,
    ties: Ties,
    special_tokens: tuple[str, ...],
    min_frequency: int,
    max_token_length: int | None,
    separator: str | None,
    snapshots: tuple[int, ...],
    threads: int | None,
    max_memory: int | None,
    quiet: bool,
) -> None:
    r"""Byte-level byte-pair encoding.

    \b
      lmfast train bpe corpus.txt --vocab-size 32000 -o tokenizer.json

    A file is one document, or several with --separator, which itself is dropped; it may be larger than memory. Where
    --snapshot names smaller sizes, their tokenizers are written too, with the size in the name: tokenizer.8000.json.
    Ctrl-C while merges are learnt saves what there is as tokenizer.partial.json.
    """
    from lmfast.text.train import TrainingInterrupted, train_bpe

    if separator == "":
        raise click.UsageError("--separator is empty")
    if not os.path.isdir(folder := os.path.dirname(output) or "."):  # rather now than when all is learnt
        raise click.UsageError(f"{output}: there is no folder {folder}")
    began = time.perf_counter()
    try:
        with _bars() as show:
            made = train_bpe(
                [Path(file) for file in files],
                vocab_size,
                pattern=pattern,
                ties=ties,
                special_tokens=special_tokens,
                min_frequency=min_frequency,
                max_token_length=max_token_length,
                snapshots=snapshots,
                separator=separator,
                threads=threads,
                max_memory=max_memory,
                progress=show,
            )
    except TrainingInterrupted as interrupted:
        partial = _named(output, "partial")
        interrupted.tokenizer.save(partial)
        click.echo(f"{partial}: {interrupted.tokenizer.vocab_size:,} ids of {vocab_size:,}", err=True)
        raise
    for size, tokenizer in made.items():
        path = output if size == vocab_size else _named(output, str(size))
        tokenizer.save(path)
        if not quiet:
            click.echo(f"{path}: {tokenizer.vocab_size:,} ids", err=True)
    if not quiet:
        n_bytes = sum(os.path.getsize(file) for file in files)
        seconds = max(time.perf_counter() - began, 1e-9)
        click.echo(f"{n_bytes / 1e6:,.1f} MB in {seconds:.2f} s", err=True)


def _named(path: str, word: str) -> str:
    """The path with a word before its ending."""
    stem, ending = os.path.splitext(path)
    return f"{stem}.{word}{ending}"
