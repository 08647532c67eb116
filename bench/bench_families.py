"""The races of the other families of tokenizers: `python bench/bench_families.py --save`.

Three models: Llama-2's BPE and T5's Unigram as sentencepiece has them, and BERT's WordPiece. Documents become arrays of
ids on one pinned core: the first pass of a fresh process, and repeat passes. tokenizers gets the same models as
`tokenizer.json`, in the form that transformers converts them to; its T5 splits and adds up scores in another way, so it
races against lmfast reading the same file as well as against lmfast reading the `.model`. `--hostile` instead gives
lmfast lines of 64 KB to 8 MB of one thing: time a byte against English, and what twice the size costs.
"""

import os
import sys
import tempfile
from pathlib import Path

import click
from race import HERE, HOME, SAMPLE, Entry, Results, race

sys.path.insert(0, str(HERE.parent / "tests" / "text"))

DATA = Path(os.environ.get("LMFAST_TEST_DATA") or HERE.parent.parent / "shared" / "data")
CORPORA = ("english", "multilingual", "code")
MODELS = {
    # what races: the file that lmfast reads, who races on it, and the ratios to reach (side -> first, repeat)
    "llama2": ("llama2.model", ("sentencepiece", "gigatoken"), {"gigatoken": (4, 4), "sentencepiece": (25, 25)}),
    "llama2-json": ("llama2.json", ("tokenizers", "gigatoken"), {}),
    "t5": ("t5.spiece.model", ("sentencepiece",), {"sentencepiece": (8, 8)}),
    "t5-json": ("t5.json", ("tokenizers",), {}),
    "bert": ("bert-base-uncased.tokenizer.json", ("tokenizers",), {"tokenizers": (40, 40)}),
}
HOSTILE = (
    "a",
    "letters",
    "spaces",
    "spaces of models",
    "newlines",
    "digits",
    "zwj",
    "han",
    "accents",
    "marks",
    "unknown",
)
LIMITS = {"sentencepiece": 2 * SAMPLE, "tokenizers": SAMPLE}


def files(scratch):
    """The files of all models by name; those that only sentencepiece's models are converted to are written."""
    import converted

    from lmfast.text import formats

    found = {name: DATA / "vocab" / name for name, _, _ in MODELS.values()}
    for name, source, convert in (
        ("llama2.json", "llama2.model", lambda spec: converted.llama(spec, "first")),
        ("t5.json", "t5.spiece.model", converted.t5),
    ):
        found[name] = Path(scratch) / name
        found[name].write_bytes(convert(formats.read(DATA / "vocab" / source)))
    return found


def job_of(model, path, corpus, limit):
    return {
        "case": "array",
        "vocab": model,
        "corpus": corpus,
        "vocab_file": str(path),
        "tokenizer_json": str(path),
        "pattern": None,
        "corpus_file": str(DATA / "corpus" / f"{corpus}.txt"),
        "limit": limit,
    }


def line(row, metric, side):
    """One number of a row, as MB/s and as a ratio."""
    value, ratio = row.median(metric, side), row.ratio(metric, side, True)
    if value is None:
        return f"{side}: {row.notes.get(side, '-')}"
    return f"{side} {value:.1f} MB/s" + (f" ({ratio:.1f}x)" if ratio else "")


@click.command(help=__doc__)
@click.option("--models", default=",".join(MODELS), help="which models, separated by commas")
@click.option("--corpora", default=",".join(CORPORA), help="which corpora")
@click.option("--runs", default=3, help="rounds in which the sides take turns")
@click.option("--limit", default=None, type=int, help="bytes of each corpus for lmfast and gigatoken; all by default")
@click.option("--hostile", is_flag=True, help="long lines of one character in place of the races")
@click.option("--timeout", default=300.0, help="seconds for one measurement")
@click.option("--save", "keep", is_flag=True, help="write results/<date>-<machine>-<topic>.json, row by row")
@click.option("--topic", default="families", show_default=True)
def main(models, corpora, runs, limit, hostile, timeout, keep, topic):
    results = Results(topic if keep else None, runs=runs, limit=limit)
    with tempfile.TemporaryDirectory() as scratch:
        paths = files(scratch)
        for model in models.split(","):
            name, peers, bars = MODELS[model]
            for kind in HOSTILE if hostile else ():
                job = {**job_of(model, paths[name], "english", None), "case": "hostile", "kind": kind}
                row = race({**job, "hostile_bytes": 8 << 20}, [Entry(HOME)], runs=1, timeout=timeout)
                results.add(row)
                found = [row.median(metric, HOME) for metric in ("ns_byte", "ordinary", "growth", "growth_kb")]
                told = None in found or (
                    f"{found[0]:.1f} ns/byte, {found[1]:.1f}x English, T(2n)/T(n) {found[2]:.2f} at {found[3]:.0f} KB"
                )
                print(f"{model} {kind}: {row.notes.get(HOME) or told}")
            for corpus in () if hostile else corpora.split(","):
                job = job_of(model, paths[name], corpus, limit)
                entries = [Entry(HOME), *(Entry(peer, limit=LIMITS.get(peer)) for peer in peers)]
                row = race(job, entries, runs=runs, timeout=timeout)
                results.add(row)
                for metric in ("first", "repeat"):
                    print(f"{model} {corpus} {metric}: " + ", ".join(line(row, metric, e.side) for e in entries))
                    for side, least in bars.items():
                        ratio, bar = row.ratio(metric, side, True), least[metric == "repeat"]
                        if ratio is not None and ratio < bar:
                            print(f"    below the bar: {ratio:.1f}x {side}, {bar}x wanted")
    if results.path:
        print(results.path)


if __name__ == "__main__":
    main()
