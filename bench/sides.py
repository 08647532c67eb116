"""One side of a race: this file is run by race.py in a fresh process, reads a job as JSON and prints what it measured.

A side is a class that knows one library by its fastest public door. It is given documents in the type that this door
likes best (`takes`), prepared before the clock starts. It needs only its library and numpy, so that libraries which
clash can live in environments of their own. What a library cannot do is left out, and its cell in the table is empty.
"""

import ctypes
import gc
import hashlib
import importlib.metadata
import json
import math
import os
import random
import signal
import statistics
import sys
import time
from itertools import chain
from pathlib import Path

SEPARATOR = b"<|endoftext|>"


class Lmfast:
    distribution = "lmfast-kernels"
    takes = bytes

    def __init__(self):
        import lmfast

        self.module = lmfast
        self.version = lmfast.__version__

    def load(self, job):
        pattern = job["pattern"] if job["vocab_file"].endswith(".tiktoken") else None
        self.tok = self.module.Tokenizer.from_file(job["vocab_file"], pattern=pattern)

    def array(self, docs, threads=1):
        return self.tok.encode_batch(docs, threads=threads)

    def flat(self, out):
        return out.ids, out.offsets

    def lists(self, docs):
        return [self.tok.encode_list(doc) for doc in docs]

    def one_array(self, text):
        return self.tok.encode(text)

    def one_list(self, text):
        return self.tok.encode_list(text)

    def counts(self, docs):
        return self.tok.count_batch(docs, threads=1)

    def decode(self, ids):
        return self.tok.decode(ids)


class Gigatoken:
    distribution = "gigatoken"
    takes = bytes

    def __init__(self):
        import gigatoken

        self.module = gigatoken

    def load(self, job):
        path = job["vocab_file"]
        if path.endswith(".tiktoken"):
            scheme = {"cl100k_base": "cl100k", "o200k_base": "o200k", "llama3": "gpt4", "qwen2": "qwen2"}[
                job["pattern"]
            ]
            self.tok = self.module.Tokenizer.from_tiktoken(path, scheme, {})
        elif path.endswith(".model"):
            self.tok = self.module.Tokenizer.from_sentencepiece(path)
        else:
            self.tok = self.module.Tokenizer(path)

    def array(self, docs, threads=1):
        return self.tok.encode_batch(docs, parallel=threads > 1)

    def flat(self, out):
        return out.layout.content.data, out.layout.offsets.data

    def lists(self, docs):
        return self.tok.encode_batch_list(docs, parallel=False)

    def one_array(self, text):
        return self.tok.encode(text)

    def one_list(self, text):
        return self.tok.encode(text).tolist()

    def decode(self, ids):
        return self.tok.decode(ids).decode()


class Tiktoken:
    distribution = "tiktoken"
    takes = str

    def __init__(self):
        import tiktoken
        import tiktoken.load

        self.module = tiktoken

    def load(self, job):
        path = job["vocab_file"]
        ranks = self.module.load.load_tiktoken_bpe(path) if path.endswith(".tiktoken") else ranks_of_json(path)
        self.tok = self.module.Encoding("raced", pat_str=job["regex"], mergeable_ranks=ranks, special_tokens={})

    def array(self, docs, threads=1):
        if threads > 1:
            return self.tok.encode_ordinary_batch(docs, num_threads=threads)
        return [self.tok.encode_to_numpy(doc, disallowed_special=()) for doc in docs]

    def lists(self, docs):
        return [self.tok.encode_ordinary(doc) for doc in docs]

    def one_array(self, text):
        return self.tok.encode_to_numpy(text, disallowed_special=())

    def one_list(self, text):
        return self.tok.encode_ordinary(text)

    def decode(self, ids):
        return self.tok.decode(ids)


class Tokenizers:
    distribution = "tokenizers"
    takes = str

    def __init__(self):
        import tokenizers

        self.module = tokenizers

    def load(self, job):
        self.tok = self.module.Tokenizer.from_file(job["tokenizer_json"])

    def array(self, docs, threads=1):
        return [encoding.ids for encoding in self.tok.encode_batch_fast(docs, add_special_tokens=False)]

    def lists(self, docs):
        return self.array(docs)

    def one_list(self, text):
        return self.tok.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self.tok.decode(ids, skip_special_tokens=False)


class Sentencepiece:
    distribution = "sentencepiece"
    takes = bytes

    def __init__(self):
        import sentencepiece

        self.module = sentencepiece

    def load(self, job):
        self.tok = self.module.SentencePieceProcessor(model_file=job["vocab_file"])

    def array(self, docs, threads=1):
        return [self.tok.encode(doc, out_type=int) for doc in docs]

    def lists(self, docs):
        return self.array(docs)

    def one_list(self, text):
        return self.tok.encode(text, out_type=int)

    def decode(self, ids):
        return self.tok.decode(ids)


class Quicktok:
    distribution = "quicktok-v1"
    takes = str

    def __init__(self):
        import quicktok

        self.module = quicktok

    def load(self, job):
        self.tok = self.module.get_encoding({"qwen2": "qwen3"}.get(job["pattern"], job["pattern"]))

    def array(self, docs, threads=1):
        return self.tok.encode_batch(docs, threads, False)

    def flat(self, out):
        return out

    def lists(self, docs):
        return [self.tok.encode_ordinary(doc) for doc in docs]

    def one_list(self, text):
        return self.tok.encode_ordinary(text)

    def counts(self, docs):
        return [self.tok.count(doc) for doc in docs]

    def decode(self, ids):
        return self.tok.decode(ids)


class Splintr:
    distribution = "splintr-rs"
    takes = str

    def __init__(self):
        import splintr

        self.module = splintr

    def load(self, job):
        # It compiles the patterns in its own spelling.
        name = {"gpt2": "GPT2", "llama3": "LLAMA3", "qwen2": "QWEN2"}.get(job["pattern"], job["pattern"].upper())
        self.tok = self.module.Tokenizer(job["vocab_file"], getattr(self.module, f"{name}_PATTERN"))

    def array(self, docs, threads=1):
        return self.tok.encode_batch_flat(docs)

    def flat(self, out):
        import numpy as np

        return np.frombuffer(out[0], np.uint32), np.frombuffer(out[1], np.uint64)

    def lists(self, docs):
        return [self.tok.encode_ordinary(doc) for doc in docs]

    def one_list(self, text):
        return self.tok.encode_ordinary(text)

    def decode(self, ids):
        return self.tok.decode(ids)


SIDES = {
    "lmfast": Lmfast,
    "gigatoken": Gigatoken,
    "tiktoken": Tiktoken,
    "sentencepiece": Sentencepiece,
    "tokenizers": Tokenizers,
    "quicktok": Quicktok,
    "splintr": Splintr,
}


def ranks_of_json(path):
    """{token: id} of a byte-level tokenizer.json, whose ids are in the order of its merges."""
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters += [b for b in range(256) if b not in set(letters)]
    byte_of = {chr(b if i < 188 else 256 + i - 188): b for i, b in enumerate(letters)}
    model = json.loads(Path(path).read_text())["model"]
    special = set(model["vocab"]) - {t for t in model["vocab"] if all(c in byte_of for c in t)} | {"<|endoftext|>"}
    return {bytes(byte_of[c] for c in t): i for t, i in model["vocab"].items() if t not in special}


# Documents and what is checked about them.


def read_documents(job, limit):
    """The first documents of a corpus, `limit` bytes of them or all."""
    data = Path(job["corpus_file"]).read_bytes()
    docs, size = [], 0
    for doc in data.split(SEPARATOR):
        size += len(doc)
        if limit is not None and size > limit and docs:
            break
        docs.append(doc)
    return docs


def as_taken(side, docs):
    try:
        return docs if side.takes is bytes else [doc.decode() for doc in docs]
    except UnicodeDecodeError:
        raise ValueError("takes only what is UTF-8") from None


def as_rows(side, out):
    """Flat ids (uint32) and offsets of what `array` or `lists` gave."""
    import numpy as np

    if hasattr(side, "flat") and not isinstance(out, list):
        ids, offsets = side.flat(out)
        return np.asarray(ids, np.uint32), np.asarray(offsets, np.int64)
    lengths = np.array([len(row) for row in out], np.int64)
    if out and isinstance(out[0], list):
        ids = np.fromiter(chain.from_iterable(out), np.uint32, int(lengths.sum()))
    else:
        ids = np.concatenate([np.asarray(row, np.uint32) for row in out]) if out else np.zeros(0, np.uint32)
    return ids, np.concatenate([[0], np.cumsum(lengths)])


def digest(*parts):
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part if isinstance(part, bytes) else part.tobytes())
    return sha.hexdigest()[:16]


def hash_rows(side, out):
    return digest(*as_rows(side, out))


# The clock.


def timed(function, *arguments):
    start = time.perf_counter()
    out = function(*arguments)
    return time.perf_counter() - start, out


def repeated(job, function, *arguments, most=7, budget=2.0):
    """Median seconds of a few more passes: `most`, or as many as fit into the budget, one at least. None, and endless
    time, where only the output is to be checked.
    """
    if job["check_only"]:
        return math.inf
    times = []
    while len(times) < most and (not times or sum(times) < budget):
        seconds, out = timed(function, *arguments)
        times.append(seconds)
        del out
    return statistics.median(times)


def resident(key):
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) / 1024 for line in stream if line.startswith(key))


# The cases. Each gives {"metrics": {...}, "check": hash, "bytes": n}.


def case_array(side, job, threads=1):
    """First pass in a fresh process, then repeats; memory that loading and the first pass added."""
    raw = read_documents(job, job["limit"])
    docs = as_taken(side, raw)
    size = sum(map(len, raw))
    del raw
    gc.collect()
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")
    side.load(job)
    first, out = timed(side.array, docs, threads)
    peak = resident("VmHWM") - before
    check = hash_rows(side, out)
    output = sum(array.nbytes for array in as_rows(side, out)) / 2**20 if hasattr(side, "flat") else None
    del out
    repeat = repeated(job, side.array, docs, threads)
    metrics = {"first": size / first / 1e6, "repeat": size / repeat / 1e6, "peak": peak}
    if output is not None:
        metrics["beside"] = peak - output
    return {"metrics": metrics, "check": check, "bytes": size}


def case_threads(side, job):
    return case_array(side, job, threads=2)


def case_primed(side, job):
    """First pass after one call on two bytes: what a library leaves to its first call is not counted."""
    raw = read_documents(job, job["limit"])
    docs = as_taken(side, raw)
    side.load(job)
    side.array(as_taken(side, [b"hi"]))
    first, out = timed(side.array, docs)
    size = sum(map(len, raw))
    return {"metrics": {"first": size / first / 1e6}, "check": hash_rows(side, out), "bytes": size}


def case_new(side, job):
    """The second half of a corpus, once the first half has filled whatever tables there are."""
    raw = read_documents(job, job["limit"])
    half = len(raw) // 2
    docs = as_taken(side, raw)
    side.load(job)
    side.array(docs[:half])
    seconds, out = timed(side.array, docs[half:])
    size = sum(map(len, raw[half:]))
    return {"metrics": {"first": size / seconds / 1e6}, "check": hash_rows(side, out), "bytes": size}


def case_list(side, job):
    """Lists of Python ints, one for each document."""
    raw = read_documents(job, job["limit"])
    docs = as_taken(side, raw)
    side.load(job)
    first, out = timed(side.lists, docs)
    check = hash_rows(side, out)
    del out
    size = sum(map(len, raw))
    repeat = repeated(job, side.lists, docs)
    return {"metrics": {"first": size / first / 1e6, "repeat": size / repeat / 1e6}, "check": check, "bytes": size}


def pieces(job, count, shortest, longest):
    """Strings cut from all over a corpus, with lengths in characters drawn evenly from a range; always the same."""
    text = Path(job["corpus_file"]).read_bytes()[: 1 << 24].decode(errors="ignore").replace(SEPARATOR.decode(), " ")
    rng = random.Random(1)
    lengths = [rng.randint(shortest, longest) for _ in range(count)]
    starts = [rng.randrange(len(text) - longest) for _ in range(count)]
    return [text[a : a + n] for a, n in zip(starts, lengths, strict=True)]


def each(function, texts):
    return [function(text) for text in texts]


def case_texts(side, job):
    """Texts of 1,000 to 4,000 characters, one call each, str to list."""
    texts = pieces(job, 200 if job["check_only"] else 1500, 1000, 4000)
    size = sum(len(text.encode()) for text in texts)
    side.load(job)
    check = hash_rows(side, each(side.one_list, texts))
    seconds = repeated(job, each, side.one_list, texts)
    return {"metrics": {"repeat": size / seconds / 1e6}, "check": check, "bytes": size}


def case_short(side, job):
    """Strings of 50 characters, one call each, str to list and str to array: nanoseconds a call."""
    texts = pieces(job, 500 if job["check_only"] else 10_000, 50, 50)
    side.load(job)
    check = hash_rows(side, each(side.one_list, texts))
    metrics = {"list": repeated(job, each, side.one_list, texts) / len(texts) * 1e9}
    if hasattr(side, "one_array"):
        if hash_rows(side, each(side.one_array, texts)) != check:
            raise ValueError("arrays and lists differ")
        metrics["array"] = repeated(job, each, side.one_array, texts) / len(texts) * 1e9
    return {"metrics": metrics, "check": check, "bytes": sum(len(text.encode()) for text in texts)}


def case_count(side, job):
    """Numbers of tokens only. A library without a way to count encodes, and its lengths are taken."""
    import numpy as np

    raw = read_documents(job, job["limit"])
    docs = as_taken(side, raw)
    side.load(job)
    if hasattr(side, "counts"):
        count = side.counts
    else:

        def count(docs):
            out = side.array(docs)
            return [len(row) for row in out] if isinstance(out, list) else np.diff(side.flat(out)[1])

    out = np.asarray(count(docs), np.int64)
    size = sum(map(len, raw))
    return {"metrics": {"repeat": size / repeated(job, count, docs) / 1e6}, "check": digest(out), "bytes": size}


def case_decode(side, job):
    """All ids of a corpus to one str, from an array and from a list: MB of text a second."""
    raw = read_documents(job, min(job["limit"] or 16 << 20, 16 << 20))
    side.load(job)
    ids, _ = as_rows(side, side.array(as_taken(side, raw)))
    ids = ids.copy()
    size = sum(map(len, raw))
    metrics = {}
    inputs = {"list": ids.tolist()} if side.takes is str else {"array": ids, "list": ids.tolist()}
    for name, value in inputs.items():
        text = side.decode(value)
        if text.encode() != b"".join(raw):
            raise ValueError(f"decoding a {name} does not give the text back")
        metrics[name] = size / repeated(job, side.decode, value) / 1e6
    return {"metrics": metrics, "check": digest(text.encode()), "bytes": size}


def case_load(side, job):
    """From a file to a tokenizer, and from a file to the first answer."""
    import numpy  # noqa: F401  (its import is nobody's loading time)

    hello = as_taken(side, [b"hello world"])
    ready, _ = timed(side.load, job)
    answer, out = timed(side.array, hello)
    metrics = {"ready": ready * 1e3, "answer": (ready + answer) * 1e3}
    return {"metrics": metrics, "check": hash_rows(side, out), "bytes": os.path.getsize(job["vocab_file"])}


def hostile_text(kind, size, seed=2):
    """Text that is slow in a careless tokenizer, always valid UTF-8 except `bytes`."""
    rng = random.Random(seed)
    if kind == "bytes":
        return rng.randbytes(size)
    if kind == "letters":
        return rng.randbytes(size).translate(bytes(ord("a") + i % 26 for i in range(256)))
    unit = {
        "a": "a",
        "spaces": " ",
        "newlines": "\n",
        "digits": "7",
        "zwj": "\U0001f468\u200d",
        "han": "\u4e2d",
        "accents": "\u00e9",
        "marks": "\u0301",
        "spaces of models": "\u2581",
        "unknown": "\U000f0000",
    }[kind]
    return (unit * (size // len(unit.encode()) + 1)).encode()[: size - size % len(unit.encode())]


def case_hostile(side, job):
    """One document of one thing, of 64 KB, twice that, and so on to `hostile_bytes`: nanoseconds a byte of the largest,
    times that of English, and the most that a text of twice the size takes longer, with its size.

    It is the time of the process that is taken, so that others on the machine hardly count, and of each size the median
    of three. Before that the largest is encoded once, and nothing is the same again: random text is drawn anew, and a
    run gets some bytes shorter, for it might be remembered.
    """
    most = 100_000 if job["check_only"] else job["hostile_bytes"]
    sizes = [most]
    while sizes[0] >= 2 << 16:
        sizes.insert(0, sizes[0] // 2)
    plain = read_documents(job, most)
    side.load(job)

    def seconds(docs):
        start = time.process_time()
        out = side.array(docs)
        return time.process_time() - start, out

    def one(size, turn):
        return as_taken(side, [hostile_text(job["kind"], size - 64 * turn, f"{size} {turn}")])

    ordinary, _ = seconds(as_taken(side, plain))
    _, out = seconds(one(most, 0))
    found = {"check": hash_rows(side, out), "bytes": most}
    del out
    if job["check_only"]:
        return found
    times = [statistics.median(seconds(one(size, turn))[0] for turn in (1, 2, 3)) for size in sizes]
    growth, at = max((after / before, size) for before, after, size in zip(times, times[1:], sizes[1:], strict=False))
    ns_byte = times[-1] / most * 1e9
    times_english = ns_byte / (ordinary / sum(map(len, plain)) * 1e9)
    metrics = {"ns_byte": ns_byte, "ordinary": times_english, "growth": growth, "growth_kb": at / 1024}
    return {**found, "metrics": metrics}


def end_with_parent():
    """Has the system kill this process when the race that started it ends, however it ends."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


CASES = {name.removeprefix("case_"): function for name, function in globals().items() if name.startswith("case_")}


def main():
    end_with_parent()
    job = json.load(sys.stdin)
    os.sched_setaffinity(0, job["cores"])
    side = SIDES[job["side"]]()
    found = CASES[job["case"]](side, job)
    found["version"] = getattr(side, "version", None) or importlib.metadata.version(side.distribution)
    # Alone on the last line: a library may print what it likes before.
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
