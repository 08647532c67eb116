"""The races of the text domain: `python bench/bench_text.py --against all --report out.html`.

Cases, each on one core unless it says otherwise:
  array    documents to one array of ids: the first pass of a fresh process, repeat passes, memory added
  primed   the first pass after one call on two bytes
  new      the second half of a corpus after the first
  list     documents to lists of ints
  texts    texts of 1-4 KB to lists, one call each
  short    strings of 50 characters, one call each
  count    numbers of tokens only
  decode   ids to text
  load     a vocabulary file to a tokenizer, and to the first answer
  threads  array on two cores
  hostile  64 KB to 16 MB of one thing: time a byte against English, and what twice the size costs

What is measured is kept row by row: a race that is stopped has its rows in the page, and with --save in its file, to
which the next one of the same revision adds.
"""

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import click
from race import HERE, HOME, SAMPLE, Entry, Results, Row, race

from lmfast.files import atomic_write

DATA = Path(os.environ.get("LMFAST_TEST_DATA") or HERE.parent.parent / "shared" / "data")

# vocabulary -> its file, its pattern
VOCABS = {
    "cl100k": ("cl100k_base.tiktoken", "cl100k_base"),
    "gpt2": ("gpt2.tokenizer.json", "gpt2"),
    "o200k": ("o200k_base.tiktoken", "o200k_base"),
    "qwen2": ("qwen.tiktoken", "qwen2"),
    "llama3": ("llama3.tiktoken", "llama3"),
}
CORPORA = ("english", "code", "multilingual")
HOSTILE = ("a", "letters", "spaces", "newlines", "digits", "zwj", "han", "bytes")
CASES = ("array", "primed", "new", "list", "texts", "short", "count", "decode", "load", "threads", "hostile")
PEERS = ("gigatoken", "tiktoken", "tokenizers", "quicktok", "splintr")
SLOW = ("tiktoken", "tokenizers")

# (case, metric) -> what it is, its unit, whether more is better (None: not a race)
METRICS = {
    ("array", "first"): ("first pass", "MB/s", True),
    ("array", "repeat"): ("repeat pass", "MB/s", True),
    ("array", "peak"): ("memory added, peak", "MB", False),
    ("array", "beside"): ("memory added beside the ids", "MB", False),
    ("primed", "first"): ("first pass after one tiny call", "MB/s", True),
    ("new", "first"): ("second half after the first half", "MB/s", True),
    ("list", "first"): ("lists, first pass", "MB/s", True),
    ("list", "repeat"): ("lists, repeat pass", "MB/s", True),
    ("texts", "repeat"): ("1-4 KB texts to lists", "MB/s", True),
    ("short", "list"): ("50 characters to a list", "ns", False),
    ("short", "array"): ("50 characters to an array", "ns", False),
    ("count", "repeat"): ("count", "MB/s", True),
    ("decode", "array"): ("decode an array", "MB/s", True),
    ("decode", "list"): ("decode a list", "MB/s", True),
    ("load", "ready"): ("file to tokenizer", "ms", False),
    ("load", "answer"): ("file to first answer", "ms", False),
    ("threads", "first"): ("two cores, first pass", "MB/s", True),
    ("threads", "repeat"): ("two cores, repeat pass", "MB/s", True),
    ("threads", "peak"): ("two cores, memory added, peak", "MB", False),
    ("threads", "beside"): ("two cores, memory added beside the ids", "MB", False),
    ("hostile", "ns_byte"): ("hostile", "ns/byte", False),
    ("hostile", "ordinary"): ("hostile, time a byte over that of English", "x", None),
    ("hostile", "growth"): ("hostile, the greatest T(2n) / T(n)", "x", None),
    ("hostile", "growth_kb"): ("... where 2n is", "KB", None),
}


def settings(cases, vocabs, corpora):
    """The jobs to run: every vocabulary and corpus for the main case, one of each for the others."""
    for case in cases:
        if case == "array":
            yield from (dict(case=case, vocab=vocab, corpus=corpus) for vocab in vocabs for corpus in corpora)
        elif case == "load":
            yield from (dict(case=case, vocab=vocab, corpus=corpora[0]) for vocab in vocabs)
        elif case in ("list", "primed", "count"):
            yield from (dict(case=case, vocab=vocabs[0], corpus=corpus) for corpus in corpora)
        elif case == "hostile":
            for vocab in vocabs:
                for kind in HOSTILE:
                    yield dict(case=case, vocab=vocab, corpus=corpora[0], kind=kind, hostile_bytes=16 << 20)
        elif case == "threads":
            yield dict(case=case, vocab=vocabs[0], corpus=corpora[0], cores=sorted(os.sched_getaffinity(0))[-2:])
        else:
            yield dict(case=case, vocab=vocabs[0], corpus=corpora[0])


def complete(job, scratch):
    """Adds the paths and the pattern that sides need to a job."""
    from lmfast.text import formats
    from lmfast.text.patterns import PATTERNS

    name, pattern = VOCABS[job["vocab"]]
    source = DATA / "vocab" / name
    job = {**job, "vocab_file": str(source), "pattern": pattern, "regex": PATTERNS[pattern]}
    job["corpus_file"] = str(DATA / "corpus" / f"{job['corpus']}.txt")
    # tokenizers reads no rank files, so it gets what lmfast writes; that its ids agree is checked as for all.
    job["tokenizer_json"] = str(source if name.endswith(".json") else Path(scratch) / f"{job['vocab']}.json")
    if not os.path.exists(job["tokenizer_json"]):
        try:
            formats.write(formats.read(source, pattern=pattern), job["tokenizer_json"])
        except ValueError as error:
            print(f"no tokenizer.json of {job['vocab']}: {error}", file=sys.stderr)
    return job


def kind_of(row):
    return row.case.partition("-")[0]


def cell(row: Row, metric: str, side: str) -> str:
    value = row.median(metric, side)
    if value is None:
        return "-"
    _, _, higher = METRICS[kind_of(row), metric]
    ratio = None if higher is None else row.ratio(metric, side, higher)
    number = f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 10 else f"{value:,.2f}"
    return number + (f" ({ratio:,.{1 if ratio >= 0.95 else 2}f}x)" if ratio else "")


def blocks(rows: list[Row]):
    """(title, unit, [(setting, row, metric)]) for every metric that has numbers, in the order of METRICS."""
    for (case, metric), (title, unit, _) in METRICS.items():
        lines = [row for row in rows if kind_of(row) == case and row.values.get(metric)]
        if lines:
            yield title, unit, metric, lines


def setting_of(row):
    return f"{row.vocab} {row.case.partition('-')[2] or row.corpus}"


def table(rows: list[Row], sides: list[str]) -> str:
    """The rows as text. In brackets: how many times better lmfast is."""
    lines = []
    for title, unit, metric, found in blocks(rows):
        heads = [f"{title}, {unit}", *(f"{s}*" if s in SLOW else s for s in sides)]
        body = [[setting_of(row), *(cell(row, metric, side) for side in sides)] for row in found]
        widths = [max(len(line[i]) for line in [heads, *body]) for i in range(len(heads))]
        for line in (heads, *body):
            first, *rest = zip(line, widths, strict=True)
            lines.append("  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]).rstrip())
        lines.append("")
    return "\n".join(lines + footnotes(rows, sides))


def footnotes(rows: list[Row], sides: list[str]) -> list[str]:
    lines = ["(2.0x): lmfast is 2.0 times better."]
    if any(side in SLOW for side in sides):
        lines.append(f"* on the first {SAMPLE >> 20} MB only (hostile: 1 MB, decode: all).")
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for side, note in row.notes.items():
            reasons.setdefault(f"{side}: {note}", []).append(f"{row.case} {row.vocab} {row.corpus}")
    return lines + [f"- {reason} ({', '.join(places)})" for reason, places in reasons.items()]


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>lmfast: text, measured</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 60rem; margin: 3rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid #e4e7eb }
th:first-child, td:first-child { text-align: left } td.note, p.about { color: #7b8794 }
svg { display: block; margin: .6rem 0 }
</style></head><body>
<h1>lmfast: the text domain, measured</h1>
<p class="about">{{ report.date }} · {{ report.machine.cpu }}, {{ report.machine.cores }} cores ·
{{ report.machine.flags | join(" ") }} · Linux {{ report.machine.kernel }} · Python {{ report.machine.python }} ·
revision {{ report.revision }}<br>
{% for name, version in report.versions.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% endfor %}.
Medians of {{ report.runs }} runs, each in a fresh process pinned to a core, the sides taking turns; outputs compared
before any time is taken.<br>
{% for line in footnotes %}{{ line }}<br>{% endfor %}</p>
{% for title, unit, metric, rows in blocks %}
<h2>{{ title }}, {{ unit }}</h2>
{{ bars(rows[0], metric) | safe }}
<table><tr><th></th>{% for side in sides %}<th>{{ side }}{{ "*" if side in slow }}</th>{% endfor %}</tr>
{% for row in rows %}<tr><td>{{ setting(row) }}</td>
{% for side in sides %}
<td{{ ' class="note"' | safe if not row.median(metric, side) }}>{{ cell(row, metric, side) }}</td>
{% endfor %}</tr>{% endfor %}</table>
{% endfor %}</body></html>
"""


def bars(row: Row, metric: str, sides: list[str]) -> str:
    """The first line of a table as an inline chart."""
    values = {side: value for side in sides if (value := row.median(metric, side)) is not None}
    most, parts = max(values.values()) or 1, []
    for i, (side, value) in enumerate(values.items()):
        width, y = max(1, 420 * value / most), 22 * i
        fill = "#2563eb" if side == HOME else "#bfdbfe"
        parts.append(f'<text x="100" y="{y + 14}" font-size="13" text-anchor="end">{side}</text>')
        parts.append(f'<rect x="108" y="{y + 2}" width="{width:.1f}" height="16" rx="2" fill="{fill}"/>')
        parts.append(f'<text x="{114 + width:.1f}" y="{y + 14}" font-size="12" fill="#7b8794">{value:,.1f}</text>')
    title = f"<title>{setting_of(row)}</title>"
    return f'<svg width="620" height="{22 * len(values)}" role="img">{title}{"".join(parts)}</svg>'


def page(report: dict, rows: list[Row], sides: list[str]) -> str:
    import jinja2

    return (
        jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(PAGE)
        .render(
            report=report,
            blocks=list(blocks(rows)),
            sides=sides,
            slow=SLOW,
            footnotes=footnotes(rows, sides),
            cell=cell,
            setting=setting_of,
            bars=lambda row, metric: bars(row, metric, sides),
        )
    )


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--against", default="all", help="Peers, with commas; 'all' for those with an interpreter; 'none'.")
@click.option("--cases", default=",".join(CASES), show_default=True)
@click.option("--vocabs", default=",".join(VOCABS), show_default=True, help="The first is that of the smaller cases.")
@click.option("--corpora", default=",".join(CORPORA), show_default=True, help="Likewise.")
@click.option("--runs", default=3, show_default=True, help="Fresh processes a side and case.")
@click.option("--megabytes", type=int, help="Take only so much of each corpus.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds for one process.")
@click.option("--interpreter", multiple=True, metavar="PEER=PYTHON", help="A Python that has this peer. Repeatable.")
@click.option("--report", "report_path", metavar="OUT.html", help="Also write one self-contained page.")
@click.option("--hostile-peers", is_flag=True, help="Peers take part in the hostile cases too.")
@click.option("--save", "keep", is_flag=True, help="Also write bench/results/<date>-<machine>-<topic>.json.")
@click.option("--topic", default="text", show_default=True)
def main(
    against, cases, vocabs, corpora, runs, megabytes, timeout, interpreter, report_path, hostile_peers, keep, topic
):
    if not DATA.is_dir():
        raise click.ClickException(
            f"no data: {DATA} is absent; set LMFAST_TEST_DATA to the folder of corpus/ and vocab/"
        )
    pythons = dict(item.split("=", 1) for item in interpreter)
    here = [peer for peer in PEERS if peer in pythons or has(peer)]
    peers = {"all": here, "none": []}.get(against, against.split(","))
    for given, known in ((peers, PEERS), (cases.split(","), CASES), (vocabs.split(","), VOCABS)):
        if unknown := set(given) - set(known):
            raise click.UsageError(f"unknown: {', '.join(sorted(unknown))}; want some of {', '.join(known)}")
    if report_path:
        import jinja2  # noqa: F401  (now rather than after the races)

    entries = [
        Entry(side, pythons.get(side, sys.executable), SAMPLE if side in SLOW else None) for side in (HOME, *peers)
    ]
    sides = [entry.side for entry in entries]

    def say(line):
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    results = Results(topic if keep else None, runs=runs, megabytes=megabytes)
    with tempfile.TemporaryDirectory() as scratch:
        for job in settings(cases.split(","), vocabs.split(","), corpora.split(",")):
            job = complete(job, scratch)
            if megabytes:
                job["limit"] = megabytes * 1_000_000
            mine, rounds = entries, runs
            if job["case"] == "decode":  # quick for all, and the same ids for all
                mine = [replace(e, limit=None) for e in entries]
            if job["case"] == "hostile":  # medians already
                mine, rounds = [replace(e, limit=1 << 20) if e.limit else e for e in entries], 1
                mine = mine if hostile_peers else mine[:1]
            results.add(race(job, mine, runs=rounds, timeout=timeout, say=say))
            say("")
            print(table(results.rows[-1:], sides), file=sys.stderr, flush=True)
            if report_path:
                with atomic_write(report_path, "w") as file:
                    file.write(page(results.report, results.rows, sides))
    print("\n" + json.dumps(results.report["machine"]) + "\n\n" + table(results.rows, sides))
    for path in filter(None, (results.path, report_path)):
        print(f"wrote {path}")


def has(peer: str) -> bool:
    from importlib.util import find_spec

    return find_spec(peer) is not None


if __name__ == "__main__":
    main()
