"""The command `lmfast`. What a command needs is imported when it runs, so that `lmfast --help` answers at once."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from lmfast.text.train_cli import train
from lmfast.text.train_unigram_cli import unigram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmfast.text.spec import TokenizerSpec
    from lmfast.text.tokenizer import Tokenizer

__all__ = ["main"]

CHUNK = 8 << 20
"""Bytes read, or text encoded, between two looks at the progress bar and at Ctrl-C."""


HELP = """Fast, exact tokenizers.

TOKENIZER is a file (a .tiktoken rank file or a Hugging Face tokenizer.json) or the name of an encoding (cl100k_base,
o200k_base, gpt2, ...). FILES may be - for standard input.

\b
  lmfast count cl100k_base README.md         how many tokens is this?
  lmfast count -r cl100k_base src/           and all of that?
  lmfast encode gpt2 *.txt -o ids.npy        text to ids
  lmfast decode gpt2 ids.npy                 and back
  lmfast convert qwen.tiktoken tokenizer.json --pattern qwen2
  lmfast demo                                see it work, without network or files

Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage, 130 interrupted.
"""


class Group(click.Group):
    """Makes one line on stderr and an exit code of what can be expected to go wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("lmfast: interrupted", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            # The reader of a pipe has left, as `head` does. click ends the program without a word.
            raise
        except (OSError, ValueError, IndexError, ImportError, MemoryError) as error:
            click.echo(f"lmfast: error: {one_line(error)}", err=True)
            ctx.exit(1)


def one_line(error: BaseException) -> str:
    """An error as one line: of one about a file its name and what the system says, of others the message."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def print_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """--version, which ends the program before any command is looked for."""
    if asked and not ctx.resilient_parsing:
        import lmfast

        click.echo(f"lmfast {lmfast.__version__}")
        ctx.exit()


def id_by_name(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, int] | None:
    """Turns --special-token NAME=ID ... into a dictionary."""
    found: dict[str, int] = {}
    for value in values:
        name, equals, token_id = value.rpartition("=")
        if not (name and equals and token_id.isascii() and token_id.isdigit()):
            raise click.BadParameter(f"{value!r}: want NAME=ID, as in '<|endoftext|>=50256'")
        found[name] = int(token_id)
    return found or None


def tokenizer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--pattern and --special-token: what a rank file does not say itself."""
    pattern = click.option("--pattern", help="How a rank file's text is split: a name (cl100k_base, ...) or a regex.")
    special = click.option(
        "--special-token",
        "special_tokens",
        metavar="NAME=ID",
        multiple=True,
        callback=id_by_name,
        help="A special token of a rank file. Repeatable.",
    )
    return pattern(special(command))


def looks_like_a_path(name: str) -> bool:
    """Whether a tokenizer's name means a file, be it there or not, and not an encoding."""
    return os.path.exists(name) or os.sep in name or name.endswith((".tiktoken", ".json", ".model"))


def load_tokenizer(name: str, pattern: str | None, special_tokens: dict[str, int] | None) -> Tokenizer:
    """The tokenizer of a file or of a named encoding, which --pattern and --special-token do not go with."""
    import lmfast

    if looks_like_a_path(name):
        return lmfast.Tokenizer.from_file(name, pattern=pattern, special_tokens=special_tokens)
    if pattern is not None or special_tokens is not None:
        raise ValueError(f"{name} is a named encoding: --pattern and --special-token go with a rank file")
    return lmfast.get_encoding(name)


@contextmanager
def open_input(path: str) -> Iterator[IO[bytes]]:
    """A file to read bytes from; "-" is standard input, which stays open."""
    if path == "-":
        yield sys.stdin.buffer
    else:
        with open(path, "rb") as stream:
            yield stream


def documents_of(stream: IO[bytes], separator: bytes | None) -> Iterator[bytes]:
    """What lies between the separators, as `Tokenizer.encode_files` has it; one document and a block are in memory."""
    if not separator:
        yield stream.read()
        return
    buffer, found = bytearray(), False
    while block := stream.read(CHUNK):
        # A separator may have begun in the block before.
        search = max(0, len(buffer) - len(separator) + 1)
        buffer += block
        start = 0
        while (end := buffer.find(separator, search)) >= 0:
            yield bytes(buffer[start:end])
            start = search = end + len(separator)
            found = True
        del buffer[:start]
    # A separator at the very end ends the last document and begins none.
    if buffer or not found:
        yield bytes(buffer)


def batches_of(documents: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Documents by groups of CHUNK bytes or a little more."""
    batch: list[bytes] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= CHUNK:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@contextmanager
def progress(total: int | None, unit: str = "B") -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr when that is a terminal; gives the function that moves it."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, unit_scale=True, file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        yield lambda n: bar.update(n) and None


def total_size(paths: Iterable[str]) -> int | None:
    """Bytes in all files, or None where one of them cannot tell."""
    if any(not os.path.isfile(path) for path in paths):
        return None
    return sum(os.path.getsize(path) for path in paths)


@contextmanager
def npy_writer(path: str, dtype: str) -> Iterator[Callable[[NDArray[Any]], None]]:
    """A one-dimensional .npy file of unknown length: gives the function that appends to it."""
    import numpy as np

    from lmfast.files import atomic_write

    def header(length: int) -> bytes:
        text = f"{{'descr': '{np.dtype(dtype).str}', 'fortran_order': False, 'shape': ({length},), }}"
        return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"

    length = 0
    with atomic_write(path) as stream:

        def append(values: NDArray[Any]) -> None:
            nonlocal length
            length += values.size
            stream.write(np.ascontiguousarray(values, dtype=dtype).data)

        stream.write(header(0))
        yield append
        stream.seek(0)
        stream.write(header(length))


@click.group(cls=Group, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Print it.")
def main() -> None:
    """The group that the commands below belong to."""


main.add_command(train)
train.add_command(unigram)


@main.command(short_help="Text to token ids.")
@click.argument("tokenizer")
@click.argument("files", nargs=-1, required=True)
@click.option("-o", "--output", metavar="IDS.npy", help="Where the ids go. Without it they are printed, see below.")
@click.option("--offsets", metavar="OFFSETS.npy", help="Also write where each document begins, see below.")
@click.option("--separator", metavar="TEXT", help="Cut files into documents at this text, as '<|endoftext|>'.")
@click.option(
    "--allowed-special",
    metavar="TOKEN",
    multiple=True,
    help="A special token to recognise in the text, or 'all'. Repeatable. Otherwise its text is plain text.",
)
@click.option("--dtype", type=click.Choice(["uint32", "uint16"]), default="uint32", help="Of the ids. Default: uint32.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads to use. Default: all cores.")
@click.option("-q", "--quiet", is_flag=True, help="No summary on stderr.")
@tokenizer_options
def encode(
    tokenizer: str,
    files: tuple[str, ...],
    output: str | None,
    offsets: str | None,
    separator: str | None,
    allowed_special: tuple[str, ...],
    dtype: str,
    threads: int | None,
    quiet: bool,
    pattern: str | None,
    special_tokens: dict[str, int] | None,
) -> None:
    """Text to token ids.

    IDS.npy is a flat array of the ids of all documents, one after another, in the order given; numpy.load(path,
    mmap_mode="r") opens it. A file is one document, or several with --separator, which itself is dropped. OFFSETS.npy
    is int64[documents + 1]: document i is ids[offsets[i]:offsets[i + 1]].

    Without -o the ids are printed in decimal, one document a line. Output files appear whole or not at all.
    """
    import numpy as np

    if separator == "":
        raise click.UsageError("--separator is empty")
    tok = load_tokenizer(tokenizer, pattern, special_tokens)
    if dtype == "uint16" and tok.vocab_size > 1 << 16:
        raise ValueError(f"--dtype uint16 holds ids below 65536; {tokenizer} has {tok.vocab_size}")
    allowed = "all" if "all" in allowed_special else set(allowed_special)
    cut = separator.encode() if separator else None
    n_bytes = n_tokens = n_documents = 0
    began = time.perf_counter()

    def documents() -> Iterator[bytes]:
        for path in files:
            with open_input(path) as stream:
                yield from documents_of(stream, cut)

    with ExitStack() as stack:
        move = stack.enter_context(progress(total_size(files)))
        write_ids = stack.enter_context(npy_writer(output, dtype)) if output else None
        write_offsets = stack.enter_context(npy_writer(offsets, "int64")) if offsets else None
        if write_offsets:
            write_offsets(np.zeros(1, np.int64))
        for batch in batches_of(documents()):
            encoded = tok.encode_batch(batch, threads=threads, allowed_special=allowed)
            if write_ids:
                write_ids(encoded.ids)
            else:
                for ids in encoded:
                    click.echo(" ".join(map(str, ids.tolist())))
            if write_offsets:
                write_offsets(encoded.offsets[1:] + n_tokens)
            size = sum(map(len, batch))
            n_bytes += size
            n_tokens += len(encoded.ids)
            n_documents += len(batch)
            move(size)
    if output and not quiet:
        seconds = max(time.perf_counter() - began, 1e-9)
        click.echo(
            f"{output}: {n_tokens:,} tokens of {n_documents:,} document{'s' * (n_documents != 1)}, "
            f"{n_bytes / 1e6:,.1f} MB in {seconds:.2f} s ({n_bytes / 1e6 / seconds:,.0f} MB/s)",
            err=True,
        )


def read_ids(path: str) -> NDArray[Any]:
    """The ids of a .npy file (mapped, not read), or those printed on standard input."""
    import numpy as np

    if path == "-":
        words = sys.stdin.buffer.read().split()
        bad = next((word for word in words if not word.isdigit()), None)
        if bad is not None:
            raise ValueError(f"standard input: {bad.decode(errors='replace')!r} is not a token id")
        return np.array([int(word) for word in words], np.int64)
    with open(path, "rb") as stream:
        if stream.read(6) != b"\x93NUMPY":
            raise ValueError(f"{path}: not a .npy file")
    try:
        ids: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from error
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"{path}: want a one-dimensional array of integers, got {ids.dtype} of shape {ids.shape}")
    return ids


@main.command(short_help="Token ids back to text.")
@click.argument("tokenizer")
@click.argument("ids", metavar="IDS.npy")
@click.option("-o", "--output", metavar="FILE", help="Where the text goes, instead of standard output.")
@tokenizer_options
def decode(
    tokenizer: str, ids: str, output: str | None, pattern: str | None, special_tokens: dict[str, int] | None
) -> None:
    """Token ids back to text, byte for byte.

    IDS.npy is a one-dimensional array of integers, or - for decimal ids on standard input.
    """
    from lmfast.files import atomic_write

    tok = load_tokenizer(tokenizer, pattern, special_tokens)
    values = read_ids(ids)
    with ExitStack() as stack:
        move = stack.enter_context(progress(values.size, " tokens"))
        stream = stack.enter_context(atomic_write(output)) if output else sys.stdout.buffer
        for at in range(0, values.size, CHUNK // 4):
            part = values[at : at + CHUNK // 4]
            try:
                stream.write(tok.decode_bytes(part))
            except (ValueError, IndexError) as error:
                raise ValueError(f"{ids}: in the ids from {at} on: {one_line(error)}") from error
            move(part.size)
        stream.flush()


def files_under(paths: Iterable[str], recursive: bool) -> Iterator[str]:
    """The paths, with the files in a folder, by name, in its place; hidden ones and links to folders are passed by."""
    for path in paths:
        if not (recursive and os.path.isdir(path)):
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                inside = os.path.join(folder, name)
                if not name.startswith(".") and os.path.isfile(inside):
                    yield inside


@main.command(short_help="How many tokens files have.")
@click.argument("tokenizer")
@click.argument("files", nargs=-1)
@click.option("-r", "--recursive", is_flag=True, help="Count the files in folders too; hidden ones are passed by.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads to use. Default: all cores.")
@tokenizer_options
@click.pass_context
def count(
    ctx: click.Context,
    tokenizer: str,
    files: tuple[str, ...],
    recursive: bool,
    as_json: bool,
    threads: int | None,
    pattern: str | None,
    special_tokens: dict[str, int] | None,
) -> None:
    """How many tokens each file is, and all together; standard input without FILES.

    Text of special tokens is counted as plain text.
    """
    tok = load_tokenizer(tokenizer, pattern, special_tokens)
    paths = list(files_under(files, recursive)) if files else ["-"]
    rows: list[dict[str, Any]] = []
    failed = False

    def texts() -> Iterator[bytes]:
        nonlocal failed
        for path in paths:
            try:
                with open_input(path) as stream:
                    text = stream.read()
            except OSError as error:
                click.echo(f"lmfast: error: {one_line(error)}", err=True)
                failed = True
                continue
            rows.append({"file": path, "tokens": 0, "bytes": len(text)})
            yield text

    done = 0
    with progress(total_size(paths)) as move:
        for batch in batches_of(texts()):
            for tokens in tok.count_batch(batch, threads=threads).tolist():
                rows[done]["tokens"] = tokens
                done += 1
            move(sum(map(len, batch)))

    total = {key: sum(row[key] for row in rows) for key in ("tokens", "bytes")}
    if as_json:
        click.echo(json.dumps({"files": rows, "total": total}, ensure_ascii=False))
    else:
        width = len(str(total["tokens"]))
        for row in rows:
            click.echo(f"{row['tokens']:>{width}} {row['file']}" if files else str(row["tokens"]))
        if len(paths) > 1:
            click.echo(f"{total['tokens']:>{width}} total")
    if failed:
        ctx.exit(1)


def read_spec(name: str, pattern: str | None, special_tokens: dict[str, int] | None) -> TokenizerSpec:
    """What such a tokenizer consists of."""
    from lmfast.text import formats

    if looks_like_a_path(name):
        return formats.read(name, pattern=pattern, special_tokens=special_tokens)
    return load_tokenizer(name, pattern, special_tokens).spec


@main.command(short_help="Write a tokenizer in another format.")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@tokenizer_options
def convert(source: str, target: str, pattern: str | None, special_tokens: dict[str, int] | None) -> None:
    """Write a tokenizer in another format, found from the name of OUT: .tiktoken, .json or .model.

    What OUT cannot hold is refused with the reason. A rank file holds neither pattern nor special tokens: as IN it
    needs --pattern, as OUT it loses them.
    """
    from lmfast.text import formats

    formats.write(read_spec(source, pattern, special_tokens), target)


@main.command(short_help="What this installation is made of.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(as_json: bool) -> None:
    """Version, instruction sets, GPU library and optional packages, as this machine has them."""
    from lmfast.info import format_info
    from lmfast.info import info as gather

    facts = gather()
    click.echo(json.dumps(facts) if as_json else format_info(facts))


@main.command(short_help="See it work, without network or files.")
@click.option("--out", default="lmfast-demo", show_default=True, metavar="DIR", help="Folder for the files it writes.")
def demo(out: str) -> None:
    """Train, encode, decode and compare on the text of Python's own library, in less than a minute."""
    from lmfast.demo import run

    try:
        run(out)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
