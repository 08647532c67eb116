"""`lmfast train`: what the command line says of training. What a command needs is imported when it runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lmfast.text.tokenizer import Tokenizer
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


_COMMON = (
    click.argument("files", nargs=-1, required=True),
    click.option(
        "--vocab-size", type=click.IntRange(min=1), metavar="N", required=True, help="Ids, special tokens included."
    ),
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        help="tokenizer.json, or a name that ends in .tiktoken or .model, where that can hold it.",
    ),
    click.option("--special-token", "special_tokens", metavar="TEXT", multiple=True, help="Repeatable."),
    click.option(
        "--min-frequency", type=click.IntRange(min=0), default=0, metavar="N", help="Rarer pairs are not merged."
    ),
    click.option("--separator", metavar="TEXT", help="Cut text files into documents at this text, as '<|endoftext|>'."),
    click.option(
        "--column", default="text", show_default=True, metavar="NAME", help="The text of .jsonl and .parquet."
    ),
    click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads to use. Default: all cores."),
    click.option(
        "--max-memory", metavar="SIZE", callback=_size, help="For counting, as in 500M; past it a temporary file."
    ),
    click.option("-q", "--quiet", is_flag=True, help="No summary on stderr."),
)


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Adds what all commands have."""
    for option in reversed(_COMMON):
        command = option(command)
    return command


@train.command(short_help="Byte-pair encoding.")
@_common
@click.option("--pattern", default="cl100k", show_default=True, help="How text is split: a name or a regex.")
@click.option(
    "--ties",
    type=click.Choice(["hf", "bytes", "first", "lexmax", "sentencepiece"]),
    default="hf",
    show_default=True,
    help="Which of equally frequent pairs comes first: as tokenizers, rustbpe, minbpe, subword-nmt or sentencepiece.",
)
@click.option("--max-token-length", type=click.IntRange(min=1), metavar="N", help="Tokens are shorter than this.")
@click.option("--snapshot", "snapshots", type=click.IntRange(min=1), metavar="N", multiple=True, help="See below.")
@click.option(
    "--characters", is_flag=True, help="Begin with characters instead of bytes; --pattern whitespace suits it."
)
@click.option("--continuing-subword-prefix", default="", metavar="TEXT", help="With --characters.")
@click.option("--end-of-word-suffix", default="", metavar="TEXT", help="With --characters.")
@click.option("--unk-token", metavar="TEXT", help="With --characters: a special token for what is unknown.")
@click.option("--normalizer", metavar="NAME", help="Of sentencepiece: nmt_nfkc (the default), nfkc_cf, identity ...")
@click.option("--character-coverage", type=float, metavar="SHARE", help="Of sentencepiece; 0.9995 by default.")
@click.option("--byte-fallback", is_flag=True, help="Of sentencepiece: unknown characters become their bytes.")
@click.option("--split-digits", is_flag=True, help="Of sentencepiece: a digit is a piece of its own.")
@click.option("--user-defined-symbol", "user_defined_symbols", metavar="TEXT", multiple=True, help="Of sentencepiece.")
def bpe(files: tuple[str, ...], output: str, vocab_size: int, quiet: bool, characters: bool, **options: Any) -> None:
    """Byte-pair encoding.

    \b
      lmfast train bpe corpus.txt --vocab-size 32000 -o tokenizer.json
      lmfast train bpe corpus.jsonl.gz --ties sentencepiece --vocab-size 32000 -o spm.model

    A text file is one document, or several with --separator, which itself is dropped; it may be larger than memory.
    Rows of .jsonl and .parquet are documents; .gz and .zst are decompressed. Where --snapshot names smaller sizes,
    their tokenizers are written too, with the size in the name: tokenizer.8000.json. Ctrl-C while merges are learnt
    saves what there is as tokenizer.partial.json.
    """
    from lmfast.text.train import train_bpe

    sentencepiece = ("normalizer", "character_coverage", "byte_fallback", "split_digits", "user_defined_symbols")
    asked = {name: value for name in sentencepiece if (value := options.pop(name))}
    if asked and options["ties"] != "sentencepiece":
        raise click.UsageError(f"--{next(iter(asked)).replace('_', '-')} is for --ties sentencepiece")

    def learn(show: Callable[[Progress], object]) -> Mapping[int, Tokenizer]:
        paths = [Path(file) for file in files]
        made: dict[int, Tokenizer] = train_bpe(
            paths, vocab_size, byte_level=not characters, progress=show, **options, **asked
        )
        return made

    _train(learn, files, output, vocab_size, quiet, options["separator"])


@train.command(short_help="WordPiece.")
@_common
@click.option("--pattern", default="whitespace", show_default=True, help="How text is split: a name or a regex.")
@click.option(
    "--unk-token", default="[UNK]", show_default=True, metavar="TEXT", help="What a word becomes that is unknown."
)
@click.option("--continuing-subword-prefix", default="##", show_default=True, metavar="TEXT", help="Of what goes on.")
@click.option("--limit-alphabet", type=click.IntRange(min=1), metavar="N", help="The most frequent characters only.")
def wordpiece(files: tuple[str, ...], output: str, vocab_size: int, quiet: bool, **options: Any) -> None:
    """WordPiece: tokens learnt as by BPE over characters, for segmentation by the longest match.

    \b
      lmfast train wordpiece corpus.txt --vocab-size 30522 -o tokenizer.json

    Without --special-token these are [UNK] [CLS] [SEP] [PAD] [MASK].
    """
    from lmfast.text.train import train_wordpiece

    if not options["special_tokens"]:
        del options["special_tokens"]

    def learn(show: Callable[[Progress], object]) -> Mapping[int, Tokenizer]:
        paths = [Path(file) for file in files]
        return {vocab_size: train_wordpiece(paths, vocab_size, progress=show, **options)}

    _train(learn, files, output, vocab_size, quiet, options["separator"])


def _train(
    learn: Callable[[Callable[[Progress], object]], Mapping[int, Tokenizer]],
    files: tuple[str, ...],
    output: str,
    vocab_size: int,
    quiet: bool,
    separator: str | None,
) -> None:
    """Runs a training and writes what it gives, by size; or what an interrupted one had."""
    from lmfast.text.train import TrainingInterrupted

    if separator == "":
        raise click.UsageError("--separator is empty")
    if not os.path.isdir(folder := os.path.dirname(output) or "."):  # rather now than when all is learnt
        raise click.UsageError(f"{output}: there is no folder {folder}")
    began = time.perf_counter()
    try:
        with _bars() as show:
            made = learn(show)
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
