"""Unigram training raced against sentencepiece: time, memory, and how good the models are.

    python bench/bench_train_unigram.py                                     # english, 32,000 pieces, two cores
    python bench/bench_train_unigram.py --corpora english,multilingual --save train_unigram.json
    python bench/bench_train_unigram.py --quality --corpora english,multilingual,code --save train_unigram.json
    python bench/bench_train_unigram.py --plot rounds.svg

Every training is a process of its own, pinned, the sides taking turns; the time is that of the call that trains,
reading the file included, the peak of memory that of the whole process. All have `byte_fallback`, no normalization,
lines of up to 4192 bytes, and as many threads as cores. "lmfast exact" is mode="sentencepiece": if a piece or a score
is not sentencepiece's, it gets no numbers.

--quality trains on the first 80 % of a corpus and judges on the rest: the log-likelihood of a byte, over all
segmentations, with the probabilities of the pieces adding up to 1 and every unknown character costing 30 nats, and the
tokens of a byte in the best segmentations.

--plot draws the log-likelihood and the number of pieces over the passes of lmfast, a file for each corpus.
"""

import argparse
import hashlib
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from race import machine, revision

UNKNOWN = -30.0
Model = list[tuple[str, float]]


def lmfast(path: str, vocab_size: int, cores: int, mode: str = "fast") -> Callable[[], Model]:
    from lmfast import train_unigram

    got = train_unigram(
        path, vocab_size, mode=mode, normalizer="identity", byte_fallback=True, max_sentence_length=4192,
        num_threads=cores, threads=cores,
    )  # fmt: skip
    model = got.spec.model
    return lambda: [
        (piece.decode(), score) for (piece, _), score in zip(model.vocab, model.scores.tolist(), strict=True)
    ]


def lmfast_exact(path: str, vocab_size: int, cores: int) -> Callable[[], Model]:
    return lmfast(path, vocab_size, cores, mode="sentencepiece")


def sentencepiece(path: str, vocab_size: int, cores: int) -> Callable[[], Model]:
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        input=path, model_writer=model, vocab_size=vocab_size, model_type="unigram", normalization_rule_name="identity",
        byte_fallback=True, num_threads=cores, minloglevel=2,
    )  # fmt: skip

    def made() -> Model:
        peer = SentencePieceProcessor(model_proto=model.getvalue())
        return [(peer.id_to_piece(i), peer.get_score(i)) for i in range(peer.get_piece_size())]

    return made


SIDES = {"lmfast": lmfast, "lmfast exact": lmfast_exact, "sentencepiece": sentencepiece}


def run_side(job: dict) -> dict:
    """What one side measured, in a process of its own."""
    os.sched_setaffinity(0, job["cores"])
    began, cpu = time.perf_counter(), time.process_time()
    made = SIDES[job["side"]](job["path"], job["vocab_size"], len(job["cores"]))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM:"))
    model = made()
    Path(job["out"]).write_text(json.dumps(model))
    scores = b"".join(f"{piece}\0{score:.9g}\0".encode() for piece, score in model)
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak, "check": hashlib.sha256(scores).hexdigest()}


def child(job: dict) -> dict:
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"note": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:160]}
    return json.loads(done.stdout.splitlines()[-1])


def race(job: dict, runs: int) -> dict[str, dict]:
    """Side -> its times and peaks of memory; or why there are none."""
    found: dict[str, dict] = {side: {"seconds": [], "cpu_seconds": [], "peak_mb": []} for side in SIDES}
    checks: dict[str, str] = {}
    for turn in range(runs):
        for side, row in found.items():
            if "note" in row:
                continue
            print(f"{job['corpus']}: run {turn + 1} of {runs}, {side}", file=sys.stderr)
            got = child({**job, "side": side})
            if "note" in got:
                row.clear()
                row["note"] = got["note"]
                continue
            checks[side] = got["check"]
            for name in row:
                row[name].append(float(f"{got[name]:.4g}"))
    if checks.get("lmfast exact") != checks.get("sentencepiece"):
        found["lmfast exact"] = {"note": "other pieces or scores than sentencepiece's"}
    return found


def show(job: dict, found: dict[str, dict]) -> None:
    print(f"\n{job['corpus']}, {job['vocab_size']} pieces, {len(job['cores'])} cores")
    print(f"{'':14}{'s':>8}{'faster':>8}{'CPU s':>9}{'peak MB':>9}{'of peak':>9}")
    peer = {name: statistics.median(values) for name, values in found["sentencepiece"].items()}
    for side, row in found.items():
        if "note" in row:
            print(f"{side:14}{row['note']}")
            continue
        seconds, cpu, peak = (statistics.median(row[name]) for name in ("seconds", "cpu_seconds", "peak_mb"))
        faster, less = peer["seconds"] / seconds, peak / peer["peak_mb"]
        print(f"{side:14}{seconds:8.2f}{faster:7.1f}x{cpu:9.2f}{peak:9.0f}{less:9.2f}")


def judge(path: str, words: dict[str, int], n_bytes: int) -> dict[str, float]:
    """The log-likelihood and the tokens of a byte of words, under the model in a file."""
    model = [(piece, score) for piece, score in json.loads(Path(path).read_text()) if score != 0]
    norm = math.log(math.fsum(math.exp(score) for _, score in model))
    scores = {piece: score - norm for piece, score in model}
    weights = {piece: math.exp(score) for piece, score in scores.items()}
    longest = max(map(len, scores))
    log_likelihood = n_tokens = 0.0
    for word, count in words.items():
        # The sum over all segmentations, scaled in each place; the best score and its tokens.
        sums, best = [1.0], [(0.0, 0)]
        for stop in range(1, len(word) + 1):
            total, top = 0.0, (-math.inf, 0)
            for start in range(max(0, stop - longest), stop):
                piece = word[start:stop]
                if piece in scores:
                    total += sums[start] * weights[piece]
                    top = max(top, (best[start][0] + scores[piece], best[start][1] + 1))
            if not total:
                total = sums[-1] * math.exp(UNKNOWN)
                top = best[-1][0] + UNKNOWN, best[-1][1] + len(word[stop - 1].encode())
            if total < 1e-200:
                log_likelihood += count * math.log(total)
                sums = [value / total for value in sums]
                total = 1.0
            sums.append(total)
            best.append(top)
        log_likelihood += count * math.log(sums[-1])
        n_tokens += count * best[-1][1]
    return {"log_likelihood_per_byte": log_likelihood / n_bytes, "tokens_per_byte": n_tokens / n_bytes}


def quality(job: dict, folder: str) -> dict[str, dict]:
    text = Path(job["path"]).read_bytes()
    cut = text.rfind(b"\n", 0, len(text) * 4 // 5) + 1
    train, rest = Path(folder, "train.txt"), text[cut:].decode("utf-8", "replace")
    train.write_bytes(text[:cut])
    words = Counter(f"\u2581{word}" for word in rest.replace("\n", " ").split(" ") if word)
    n_bytes = sum(count * len(word[1:].encode()) + count for word, count in words.items())
    found = {}
    for side in SIDES:
        print(f"{job['corpus']}: quality, {side}", file=sys.stderr)
        got = child({**job, "path": str(train), "side": side})
        found[side] = got if "note" in got else judge(job["out"], words, n_bytes)
    return found


def show_quality(corpus: str, found: dict[str, dict]) -> None:
    print(f"\n{corpus}: trained on the first 80 %, judged on the rest")
    peer = found["sentencepiece"]
    for side, row in found.items():
        if "note" in row:
            print(f"{side:14}{row['note']}")
            continue
        likelihood, tokens = row["log_likelihood_per_byte"], row["tokens_per_byte"]
        better, more = likelihood / peer["log_likelihood_per_byte"] - 1, tokens / peer["tokens_per_byte"] - 1
        print(f"{side:14}{likelihood:10.5f} nats a byte ({-better:+.2%}){tokens:10.5f} tokens a byte ({more:+.2%})")


def draw(job: dict, path: Path) -> None:
    """The passes of one training, as a figure."""
    from lmfast import train_unigram
    from lmfast.text.train_unigram import Round
    from lmfast.text.train_unigram_cli import plot

    seen: list = []
    train_unigram(
        job["path"], job["vocab_size"], normalizer="identity", byte_fallback=True, hard_vocab_limit=False,
        progress=seen.append, threads=len(job["cores"]),
    )  # fmt: skip
    plot([item for item in seen if isinstance(item, Round)], path.with_stem(f"{path.stem}-{job['corpus']}"))


def keep(path: Path, rows: list[dict]) -> None:
    """Writes the rows to a file of results, in the place of those of the same case."""
    names = ("case", "corpus", "cores", "vocab_size")
    cases = [[row.get(name) for name in names] for row in rows]
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [row for row in old if [row.get(name) for name in names] not in cases] + rows
    about = {"date": time.strftime("%Y-%m-%d"), "revision": revision(), "machine": machine()}
    path.write_text(json.dumps({**about, "versions": {"sentencepiece": "0.2.3"}, "rows": rows}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", default="english")
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--limit", type=int, help="train on the first bytes of the corpora only")
    parser.add_argument("--quality", action="store_true", help="instead of racing")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a figure of the passes instead of racing")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write a JSON file, or add to it")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(run_side(json.loads(arguments.job))))
        return
    data = Path(os.environ.get("LMFAST_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for corpus in arguments.corpora.split(","):
            path = Path(folder, f"{corpus}.txt")
            text = (data / "corpus" / f"{corpus}.txt").read_bytes()[: arguments.limit]
            path.write_bytes(text[: text.rfind(b"\n") + 1])
            job = {"corpus": corpus, "path": str(path), "vocab_size": arguments.vocab_size}
            job |= {"cores": sorted(os.sched_getaffinity(0))[-arguments.cores :], "out": str(Path(folder, "made.json"))}
            case = {"corpus": corpus, "cores": arguments.cores, "vocab_size": arguments.vocab_size, "bytes": len(text)}
            if arguments.plot:
                draw(job, arguments.plot)
            elif arguments.quality:
                found = quality(job, folder)
                show_quality(corpus, found)
                rows.append({"case": "quality", **case, **found})
            else:
                found = race(job, arguments.runs)
                show(job, found)
                rows.append({"case": "train", **case, **found})
    if arguments.save:
        keep(arguments.save, rows)


if __name__ == "__main__":
    main()
