"""Training races: from a file on disk to a trained tokenizer, in a fresh process each time, the sides taking turns.

    python bench/bench_train.py                                # english, 32,000 tokens, on one core and on two
    python bench/bench_train.py --corpora english,multilingual --runs 5 --save train.json
    python bench/bench_train.py --growth 10,30,100,300 --save train.json      # lmfast alone, on growing text

The time is that of the call that trains, reading the file included. `merging` is what all tokens take longer than 300
(2,000 for sentencepiece), so it leaves out what is read and counted for both. The peak of memory is that of the whole
process, Python included. A side whose merges are not those of lmfast by the same rule of ties gets no numbers; lmfast
by sentencepiece's rules is a side of its own.

Growing text is the three corpora one after another, again and again, each time with another number behind every 50th
word; it is trained on with unbounded memory for counting and with 64 MB, which must give the same tokens.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from race import machine, revision

SEPARATOR = "<|endoftext|>"
FEW = 300
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
Made = list[bytes]


def texts(path: str) -> list[str]:
    return Path(path).read_bytes().decode().split(SEPARATOR)  # read_text would change line ends


def lmfast(
    path: str, vocab_size: int, cores: int, ties: str = "hf", max_memory: int | None = None
) -> Callable[[], Made]:
    from lmfast.text.train import train_bpe

    got = train_bpe(
        path, vocab_size, pattern="gpt2", separator=SEPARATOR, threads=cores, ties=ties, max_memory=max_memory
    )
    return lambda: [token for token, _ in got.spec.model.vocab][256:]


PIECES = {"byte_fallback": True, "max_sentence_length": 1 << 20, "hard_vocab_limit": False}


def lmfast_pieces(path: str, vocab_size: int, cores: int) -> Callable[[], Made]:
    from lmfast.text.train import train_bpe

    got = train_bpe(path, max(vocab_size, 2000), ties="sentencepiece", threads=cores, **PIECES)
    return lambda: [piece for piece, _ in got.spec.model.vocab]


def gigatoken(path: str, vocab_size: int, cores: int) -> Callable[[], Made]:
    from gigatoken import train_bpe

    _, merges = train_bpe(Path(path), vocab_size, [], separator=SEPARATOR.encode())
    return lambda: [a + b for a, b in merges]


def rustbpe(path: str, vocab_size: int, cores: int) -> Callable[[], Made]:
    from rustbpe import Tokenizer

    peer = Tokenizer()
    peer.train_from_iterator(iter(texts(path)), vocab_size, pattern=GPT2)
    return lambda: [bytes(token) for token, _ in sorted(peer.get_mergeable_ranks(), key=lambda item: item[1])][256:]


def tokenizers(path: str, vocab_size: int, cores: int) -> Callable[[], Made]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"vocab_size": vocab_size, "initial_alphabet": alphabet, "show_progress": False}
    peer.train_from_iterator(texts(path), trainers.BpeTrainer(**options))

    def made() -> Made:
        shown = [byte for byte in range(256) if chr(byte).isprintable() and byte not in (0x20, 0xA0, 0xAD)]
        hidden = [byte for byte in range(256) if byte not in shown]
        bytes_of = {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}
        by_id = sorted(peer.get_vocab().items(), key=lambda item: item[1])
        return [bytes(bytes_of[c] for c in token) for token, _ in by_id][256:]

    return made


def sentencepiece(path: str, vocab_size: int, cores: int) -> Callable[[], Made]:
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    options = {"model_type": "bpe", "num_threads": cores, "minloglevel": 2, "vocab_size": max(vocab_size, 2000)}
    SentencePieceTrainer.train(input=path, model_writer=model, **options, **PIECES)

    def made() -> Made:
        peer = SentencePieceProcessor(model_proto=model.getvalue())
        return [peer.id_to_piece(i).encode() for i in range(peer.get_piece_size())]

    return made


SIDES = {"lmfast": lmfast, "gigatoken": gigatoken, "rustbpe": rustbpe, "tokenizers": tokenizers}
SIDES |= {"lmfast pieces": lmfast_pieces, "sentencepiece": sentencepiece}
TIES = {"lmfast": "hf", "gigatoken": "hf", "rustbpe": "bytes", "tokenizers": "hf"}


def run_side(job: dict) -> dict:
    """What one side measured, in a process of its own."""
    os.sched_setaffinity(0, job["cores"])
    more = {name: job[name] for name in ("ties", "max_memory") if name in job}
    SIDES[job["side"]](job["warm"], FEW, len(job["cores"]), **more)  # imports, pools of threads
    start = time.perf_counter()
    made = SIDES[job["side"]](job["path"], job["vocab_size"], len(job["cores"]), **more)
    seconds = time.perf_counter() - start
    # Not ru_maxrss, which begins at that of the process which started this one.
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM:"))
    tokens = made()
    return {"seconds": seconds, "peak_mb": peak, "check": hashlib.sha256(b"\0".join(tokens)).hexdigest()}


def child(job: dict) -> dict:
    n = str(len(job["cores"]))
    threads = {"RAYON_NUM_THREADS": n, "TOKENIZERS_PARALLELISM": "true" if n != "1" else "false"}
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads})
    if done.returncode:
        return {"note": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:160]}
    return json.loads(done.stdout.splitlines()[-1])


def race(job: dict, sides: Iterable[str], runs: int) -> dict[str, dict]:
    """Side -> its times in seconds, with FEW tokens and with all, and its peaks of memory; or why there are none."""
    want = {ties: child({**job, "side": "lmfast", "ties": ties}).get("check") for ties in set(TIES.values())}
    want["pieces"] = child({**job, "side": "lmfast pieces"}).get("check") if "sentencepiece" in sides else ""
    found: dict[str, dict] = {side: {"seconds": [], "few_seconds": [], "peak_mb": []} for side in sides}
    for turn in range(runs):
        for side, row in found.items():
            if "note" in row:
                continue
            print(f"{job['corpus']}, {len(job['cores'])} cores: run {turn + 1} of {runs}, {side}", file=sys.stderr)
            few, got = child({**job, "side": side, "vocab_size": FEW}), child({**job, "side": side})
            if "note" not in got and got["check"] != want[TIES.get(side, "pieces")]:
                got = {"note": "other merges than lmfast's"}
            if "note" in got or "note" in few:
                row.clear()
                row["note"] = got.get("note") or few["note"]
                continue
            got["few_seconds"] = few["seconds"]
            for name in row:
                row[name].append(float(f"{got[name]:.4g}"))
    return found


def show(job: dict, found: dict[str, dict]) -> None:
    print(f"\n{job['corpus']}, {job['vocab_size']} tokens, {len(job['cores'])} cores")
    print(f"{'':14}{'s':>8}{'ratio':>8}{'merging s':>11}{'ratio':>8}{'peak MB':>9}")
    home: tuple[float, float] = (0.0, 0.0)
    for side, row in found.items():
        if "note" in row:
            print(f"{side:14}{row['note']}")
            continue
        whole, few, peak = (statistics.median(row[name]) for name in ("seconds", "few_seconds", "peak_mb"))
        merging = max(whole - few, 1e-9)
        home = home if home[0] else (whole, merging)
        print(f"{side:14}{whole:8.3f}{whole / home[0]:7.1f}x{merging:11.3f}{merging / home[1]:7.1f}x{peak:9.0f}")


def growing_text(path: Path, n_bytes: int, corpora: list[Path]) -> None:
    """The corpora again and again, with edits."""
    written = number = 0
    with path.open("wb") as file:
        while written < n_bytes:
            words = corpora[number % len(corpora)].read_bytes()[: n_bytes - written].split(b" ")
            words[::50] = [word + b"%d" % number for word in words[::50]]
            written += file.write(b" ".join(words))
            number += 1


def grow(job: dict, sizes: list[int], corpora: list[Path], folder: str) -> list[dict]:
    """What training takes for each size in MB."""
    rows = []
    path = Path(folder, "growing.txt")
    for size in sizes:
        growing_text(path, size * 1_000_000, corpora)
        free = child({**job, "path": str(path), "side": "lmfast"})
        bound = child({**job, "path": str(path), "side": "lmfast", "max_memory": 64_000_000})
        if free["check"] != bound["check"]:
            raise SystemExit(f"{size} MB: other tokens with bounded memory")
        row = {"case": "growth", "cores": len(job["cores"]), "vocab_size": job["vocab_size"], "mb": size}
        row |= {"seconds": free["seconds"], "peak_mb": free["peak_mb"]}
        row |= {"bounded_seconds": bound["seconds"], "bounded_peak_mb": bound["peak_mb"]}
        rows.append({name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in row.items()})
        print(rows[-1])
    return rows


def keep(path: Path, sides: list[str], rows: list[dict]) -> None:
    """Writes the rows to a file of results, in the place of those of the same case."""
    names = ("case", "corpus", "cores", "vocab_size", "mb")
    cases = [[row.get(name) for name in names] for row in rows]
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [row for row in old if [row.get(name) for name in names] not in cases] + rows
    installed = {side: importlib.metadata.version(side) for side in sides if not side.startswith("lmfast")}
    about = {"date": time.strftime("%Y-%m-%d"), "revision": revision(), "machine": machine(), "versions": installed}
    path.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", default="english")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--cores", default="1,2")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--limit", type=int, help="train on the first bytes of the corpora only")
    parser.add_argument("--growth", metavar="MB,...", help="instead of racing")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write a JSON file, or add to it")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(run_side(json.loads(arguments.job))))
        return
    data = Path(os.environ.get("LMFAST_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    sides = [side for side in arguments.sides.split(",") if importlib.util.find_spec(side.split()[0])]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder, "warm.txt")
        warm.write_text("the cat in the hat sat on the mat\n" * 100)
        for n in map(int, arguments.cores.split(",")):
            job = {"warm": str(warm), "cores": sorted(os.sched_getaffinity(0))[-n:], "vocab_size": arguments.vocab_size}
            if arguments.growth:
                corpora = [data / "corpus" / f"{name}.txt" for name in ("english", "multilingual", "code")]
                rows += grow(job, [int(size) for size in arguments.growth.split(",")], corpora, folder)
                continue
            for corpus in arguments.corpora.split(","):
                path = data / "corpus" / f"{corpus}.txt"
                if arguments.limit:
                    text = path.read_bytes()[: arguments.limit].decode("utf-8", "ignore")
                    path = Path(folder, f"{corpus}.txt")
                    path.write_bytes(text.encode())
                job |= {"corpus": corpus, "path": str(path)}
                found = race(job, sides, arguments.runs)
                show(job, found)
                rows.append({"case": "train", "corpus": corpus, "cores": n, "vocab_size": job["vocab_size"], **found})
    if arguments.save:
        keep(arguments.save, sides, rows)


if __name__ == "__main__":
    main()
