"""`lmfast train unigram`: the command, its progress and its plot. What it needs is imported when it runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmfast.text.train_cli import _size

if TYPE_CHECKING:
    from lmfast.text.train_unigram import Round
    from lmfast.text.words import Progress

__all__ = ["plot", "unigram"]


@contextmanager
def _lines(rounds: list[Round]) -> Iterator[Callable[[Progress | Round], object]]:
    """A bar of bytes counted on stderr, then a line for each pass, when that is a terminal; keeps the passes."""
    from tqdm import tqdm

    from lmfast.text.words import Progress

    bars: list[tqdm[object]] = []
    shown = sys.stderr.isatty()

    def show(progress: Progress | Round) -> None:
        if not isinstance(progress, Progress):
            rounds.append(progress)
            for bar in bars:
                bar.close()
            if shown:
                pieces = f"pass {progress.number:3}  {progress.pieces:9,} pieces"
                rest = f"log-likelihood {progress.log_likelihood:.6g}  {progress.seconds_left:.0f} s left"
                click.echo(f"{pieces}  {rest}", err=True)
        elif shown:
            if not bars:
                bars.append(tqdm(total=progress.total, desc="counting", file=sys.stderr, unit="B", unit_scale=True))
            bars[0].update(progress.done - bars[0].n)

    try:
        yield show
    finally:
        for bar in bars:
            bar.close()


@click.command(short_help="Unigram.")
@click.argument("files", nargs=-1, required=True)
@click.option("--vocab-size", type=click.IntRange(min=1), metavar="N", required=True, help="Pieces, all of them.")
@click.option("-o", "--output", metavar="FILE", required=True, help="A name that ends in .model.")
@click.option(
    "--mode",
    type=click.Choice(["fast", "sentencepiece"]),
    default="fast",
    show_default=True,
    help="sentencepiece: the very pieces and scores of sentencepiece 0.2.3.",
)
@click.option("--num-threads", type=click.IntRange(1, 1024), default=16, show_default=True, metavar="N",
              help="With --mode sentencepiece: its option of that name, on which its result depends.")  # fmt: skip
@click.option("--normalizer", default="nmt_nfkc", show_default=True, metavar="NAME", help="Or nfkc_cf, identity ...")
@click.option("--character-coverage", type=float, default=0.9995, show_default=True, metavar="SHARE",
              help="Of the text, by pieces of one character.")  # fmt: skip
@click.option("--byte-fallback", is_flag=True, help="Unknown characters become their bytes.")
@click.option("--split-digits", is_flag=True, help="A digit is a piece of its own.")
@click.option("--split-by-whitespace/--no-split-by-whitespace", default=True, show_default=True,
              help="A piece is within one word.")  # fmt: skip
@click.option("--split-by-unicode-script/--no-split-by-unicode-script", default=True, show_default=True,
              help="... and of one script.")  # fmt: skip
@click.option("--split-by-number/--no-split-by-number", default=True, show_default=True,
              help="... and of digits or of none.")  # fmt: skip
@click.option("--treat-whitespace-as-suffix", is_flag=True, help="A word ends with its space.")
@click.option("--allow-whitespace-only-pieces", is_flag=True, help="Pieces of spaces alone.")
@click.option("--required-chars", default="", metavar="CHARACTERS", help="Are pieces however rare.")
@click.option("--max-piece-length", type=click.IntRange(1, 512), default=16, show_default=True, metavar="N",
              help="In characters.")  # fmt: skip
@click.option("--seed-size", type=click.IntRange(min=0), default=1_000_000, show_default=True, metavar="N",
              help="Substrings to begin with.")  # fmt: skip
@click.option("--shrinking-factor", type=float, metavar="SHARE",
              help="Of the pieces, that a round keeps. Default: 0.6, with --mode sentencepiece 0.75.")  # fmt: skip
@click.option("--sub-iterations", type=click.IntRange(1, 10), metavar="N",
              help="Passes in a round. Default: 1, with --mode sentencepiece 2.")  # fmt: skip
@click.option("--control-symbol", "control_symbols", metavar="TEXT", multiple=True, help="Repeatable.")
@click.option("--user-defined-symbol", "user_defined_symbols", metavar="TEXT", multiple=True, help="Repeatable.")
@click.option("--unk-id", type=int, default=0, show_default=True, metavar="ID", help="Of <unk>.")
@click.option("--bos-id", type=int, default=1, show_default=True, metavar="ID", help="Of <s>; -1: none.")
@click.option("--eos-id", type=int, default=2, show_default=True, metavar="ID", help="Of </s>; -1: none.")
@click.option("--pad-id", type=int, default=-1, show_default=True, metavar="ID", help="Of <pad>; -1: none.")
@click.option("--soft-vocab-limit", is_flag=True, help="Fewer pieces than --vocab-size are no error.")
@click.option("--separator", metavar="TEXT", help="Also ends a line, as '<|endoftext|>'.")
@click.option("--column", default="text", show_default=True, metavar="NAME", help="The text of .jsonl and .parquet.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads to use. Default: all cores.")
@click.option(
    "--max-memory", metavar="SIZE", callback=_size, help="For counting, as in 500M; past it a temporary file."
)
@click.option("--plot", "plot_file", metavar="FILE", help="Log-likelihood and pieces over the passes (matplotlib).")
@click.option("-q", "--quiet", is_flag=True, help="No summary on stderr.")
def unigram(
    files: tuple[str, ...],
    output: str,
    vocab_size: int,
    soft_vocab_limit: bool,
    plot_file: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Unigram: the most probable pieces, by expectation-maximization and pruning.

    \b
      lmfast train unigram corpus.txt --vocab-size 32000 --byte-fallback -o spm.model

    Text is read line by line. On a terminal each pass says how many pieces there are, the log-likelihood and the time
    left. Ctrl-C ends the training; nothing is written.
    """
    from lmfast.text.train_unigram import train_unigram

    if not output.endswith(".model"):
        raise click.UsageError(f"{output}: a Unigram model is saved as a .model file")
    for path in filter(None, (output, plot_file)):  # rather now than when all is learnt
        if not os.path.isdir(folder := os.path.dirname(path) or "."):
            raise click.UsageError(f"{path}: there is no folder {folder}")
    if options["separator"] == "":
        raise click.UsageError("--separator is empty")
    if plot_file:
        import matplotlib  # noqa: F401
    began = time.perf_counter()
    rounds: list[Round] = []
    paths = [Path(file) for file in files]
    with _lines(rounds) as show:
        made = train_unigram(paths, vocab_size, hard_vocab_limit=not soft_vocab_limit, progress=show, **options)
    made.save(output)
    if plot_file:
        plot(rounds, plot_file)
    if not quiet:
        n_bytes = sum(os.path.getsize(file) for file in files)
        seconds = max(time.perf_counter() - began, 1e-9)
        click.echo(f"{output}: {made.vocab_size:,} ids", err=True)
        click.echo(f"{n_bytes / 1e6:,.1f} MB in {seconds:.2f} s", err=True)


def plot(rounds: Sequence[Round], path: str | os.PathLike[str]) -> None:
    """Writes a figure: the log-likelihood and the number of pieces after each pass."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.add_subplot()
    right = left.twinx()
    numbers = [each.number for each in rounds]
    left.plot(numbers, [each.log_likelihood for each in rounds], "o-", color="tab:blue")
    left.set(xlabel="pass")
    left.set_ylabel("log-likelihood [nats]", color="tab:blue")
    right.plot(numbers, [each.pieces for each in rounds], "s--", color="tab:orange")
    right.set_yscale("log")
    right.set_ylabel("pieces", color="tab:orange")
    if rounds:
        right.axhline(rounds[-1].target, color="tab:gray", linewidth=0.8)
    figure.savefig(path)
