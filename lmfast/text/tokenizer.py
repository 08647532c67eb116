"""The tokenizer: a spec, compiled.

The life of one call, `tok.encode("Hello, Wörld")`: the str becomes UTF-8 (an ASCII str is read where it lies); added
tokens are cut out; what is between them is normalized, split into pieces, and each piece is looked up in a cache or
merged; the ids come back as one array. All of that is one call into C (csrc/text/encode.h), without the GIL where the
text is long. A split pattern that has no hand-written splitter becomes tables (lmfast.text.stacks); a spec with one
that no table is made for takes the same steps one by one from here.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeGuard, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmfast import _checking as checking
from lmfast import threads as _threads
from lmfast.text import _text
from lmfast.text._text import text_items
from lmfast.text.added_tokens import (
    AllowedSpecial,
    Bits,
    added_tokens,
    allowed_bits,
    check_added_tokens,
    compiled_tokens,
)
from lmfast.text.documents import documents, mark_of, measured, opened, several
from lmfast.text.patterns import splitter_of
from lmfast.text.places import alignment, character_offsets, gaps
from lmfast.text.ragged import Ragged, joined, offsets_of
from lmfast.text.spec import Split, TokenizerFileError, TokenizerSpec
from lmfast.text.utf8 import Errors, Text, character_starts, is_strict, str_index, utf8

if TYPE_CHECKING:
    from lmfast.text._stacks import Splitter
    from lmfast.text.encoding import Encoding, Side, Strategy
    from lmfast.text.regex_split import Step

__all__ = ["Offsets", "StreamDecoder", "Tokenizer"]

Origin: TypeAlias = int | NDArray[np.int64]  # where a stretch begins, or alignment's rows for each of its bytes
T = TypeVar("T", str, bytes)

CACHE_BYTES = 32 << 20
_LEAST_CACHE = 1 << 16
_PART = 1 << 18  # the least text worth a thread


class Offsets(NamedTuple):
    """Ids and where each comes from: token i is text[start:stop] with (start, stop) = offsets[i]."""

    ids: NDArray[np.uint32]
    """uint32[n]"""
    bytes: NDArray[np.int64]
    """int64[n, 2]: in the UTF-8 of the text"""
    characters: NDArray[np.int64]
    """int64[n, 2]: in characters; a token that holds part of a character has all of it"""


class Tokenizer(_text.Encoder):
    """A tokenizer compiled from a `TokenizerSpec`.

    Immutable: threads share it freely, it survives `fork`, pickles by its spec and is equal to, and hashes as, any
    tokenizer with the same contents. `cache_bytes` bounds the piece cache of each call that encodes at the same time,
    by default 32 MB; the threads of one call (`encode_batch`, `encode_files`, `count_batch`) share it. The memory of a
    tokenizer is that for each call, the vocabulary (15 MB for the 100,000 tokens of cl100k) and 2 MB for each thread,
    whatever the text. Tables of less than 16 MB make English slower; text in many scripts profits from 32 MB.

    Text is str, or bytes in UTF-8. Bytes that are not UTF-8 are encoded too, and decode to themselves: each byte that
    belongs to no well-formed sequence counts as a character of its own that is neither letter, number nor white space.
    Surrogates in a str join where a high one precedes a low one; any other becomes U+FFFD, or with errors="strict"
    raises UnicodeEncodeError.

    Special tokens in the text are plain text unless `allowed_special` names them ("all": every one). Added tokens that
    are not special are always found. Nothing is put before or after the ids unless add_special_tokens=True, which
    applies the spec's post-processor.

    Exactness: the ids of tiktoken 0.14.0 for rank files and of tokenizers 0.23.3 for tokenizer.json files.
    """

    def __new__(cls, spec: TokenizerSpec, *, cache_bytes: int | None = None, isa: str | None = None) -> Tokenizer:
        if cls is Tokenizer and not spec.is_byte_level:
            from lmfast.text.families import FamilyTokenizer

            return super().__new__(FamilyTokenizer)
        return super().__new__(cls)

    def __init__(self, spec: TokenizerSpec, *, cache_bytes: int | None = None, isa: str | None = None) -> None:
        room = cache_room(cache_bytes)
        check_added_tokens(spec)
        model = spec.bpe
        if spec.normalizer:
            from lmfast.text.spec import NFC

            if set(map(type, spec.normalizer)) != {NFC}:
                raise ValueError("a byte-level BPE has no normalizer but NFC; a BPE over characters has any")
        merges = None
        if model.merges is not None:
            merges = _positions(model.vocab.ids, model.merges)
            known = np.append(model.vocab.ids, np.uint32(0xFFFFFFFF))
            if not np.array_equal(known[merges], model.merges):
                bad = int(np.argmax((known[merges] != model.merges).any(axis=1)))
                raise ValueError(f"merges[{bad}] = {model.merges[bad].tolist()} names an id that is no token")
        splitter: str | Splitter = "none"
        self._steps: list[Step] | None = None
        match spec.pre_tokenizer:
            case ():
                pass
            case (Split(pattern=pattern, behavior="isolated", invert=False, literal=False),) if splitter_of(pattern):
                splitter = splitter_of(pattern) or "none"
            case steps:
                from lmfast.text.regex_split import steps_of
                from lmfast.text.stacks import splitter_for

                by_regex, tables = steps_of(steps), splitter_for(steps)
                splitter, self._steps = ("none", by_regex) if tables is None else (tables, None)
        self._added = added_tokens(spec, False), added_tokens(spec, True)
        most = 2 * len(model.vocab) + 2**17  # tables are as long as the largest id
        if (largest := max([int(model.vocab.ids[-1]), *(t.id for t in spec.added_tokens)])) > most:
            raise ValueError(f"id {largest} is too large for {len(model.vocab)} tokens: at most {most} is allowed")
        self._spec = spec
        self._cache_bytes = cache_bytes
        self._isa = isa
        self._splitter = splitter
        self._allowed: dict[frozenset[str] | str, tuple[Bits, Bits]] = {}
        self._special = {token.content: token.id for token in spec.added_tokens if token.special}
        self._contents = {token.content.encode(): token.id for token in spec.added_tokens}
        self._compile(
            model.vocab.blob,
            model.vocab.offsets,
            model.vocab.ids,
            merges,
            model.ignore_merges or merges is None,
            compiled_tokens(self._added[0]),
            compiled_tokens(self._added[1]),
            splitter,
            bool(spec.normalizer),
            room,
            isa or _text.isa_best(),
            int(spec.unicode.split(".")[0]),
        )
        self.plain = self._steps is None
        self._lengths: NDArray[np.uint32] = self._token_lengths()

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        pattern: str | None = None,
        special_tokens: dict[str, int] | None = None,
    ) -> Tokenizer:
        """A tokenizer from a `tokenizer.json` or a `.tiktoken` rank file; the content tells which.

        A rank file has no split pattern: `pattern` is a name in `lmfast.text.patterns.PATTERNS` or a regular
        expression, and `special_tokens` maps contents to ids. Errors: `TokenizerFileError` names the file and the place
        in it.
        """
        from lmfast.text import formats

        spec = formats.read(path, pattern=pattern, special_tokens=special_tokens)
        try:
            return cls(spec)
        except ValueError as error:  # what only compiling finds, a map of characters that leads nowhere for one
            raise TokenizerFileError(f"{os.fspath(path)}: {error}") from error

    @classmethod
    def from_pretrained(cls, name: str, *, revision: str | None = None, token: str | None = None) -> Tokenizer:
        """The tokenizer of a model on the Hugging Face hub. Needs the extra `hub`."""
        from lmfast.text.pretrained import from_pretrained

        return from_pretrained(name, revision=revision, token=token)

    # Encoding.

    # encode, encode_list and count are Encoder's; what they do not answer themselves comes here.

    def _encode_general(
        self, text: Text, allowed_special: AllowedSpecial, add_special_tokens: bool, errors: Errors
    ) -> NDArray[np.uint32]:
        raw, normalized = self._bits(allowed_special)
        strict = is_strict(errors)
        if self._steps is None:
            ids: NDArray[np.uint32] = self._encode(text, False, False, raw, normalized, strict)
        else:
            ids = self._encode_steps(utf8(text, strict), raw, normalized)
        if add_special_tokens:
            ids = self._post_process(ids)
        if checking.on:
            checking.verify_encode(self._spec, text, ids, allowed_special, add_special_tokens)
        return ids

    def _count_general(self, text: Text, allowed_special: AllowedSpecial, errors: Errors) -> int:
        raw, normalized = self._bits(allowed_special)
        strict = is_strict(errors)
        if self._steps is not None:
            return len(self._encode_steps(utf8(text, strict), raw, normalized))
        n: int = self._encode(text, False, True, raw, normalized, strict)
        if checking.on:
            checking.verify_count(self._spec, text, n, allowed_special)
        return n

    def encode_batch(
        self,
        texts: Iterable[Text],
        *,
        threads: int | None = None,
        allowed_special: AllowedSpecial = (),
        add_special_tokens: bool = False,
        errors: Errors = "replace",
    ) -> Ragged:
        """The ids of many texts. `threads`: how many to use, None for one per processor."""
        items, workers = text_items(texts), _threads.count(threads)
        if self._steps is not None or add_special_tokens:
            return self._encode_rows(items, allowed_special, add_special_tokens, errors)
        ragged = self._encode_texts(_text.Texts(self, *self._bits(allowed_special), items, is_strict(errors)), workers)
        if checking.on:
            for item, ids in zip(items, ragged, strict=True):
                checking.verify_encode(self._spec, item, ids, allowed_special, False)
        return ragged

    def _encode_rows(
        self, items: list[str | bytes], allowed_special: AllowedSpecial, add_special_tokens: bool, errors: Errors
    ) -> Ragged:
        """The ids of many texts, one call for each."""
        rows = [
            self.encode(t, allowed_special=allowed_special, add_special_tokens=add_special_tokens, errors=errors)
            for t in items
        ]
        ids = np.concatenate([np.empty(0, np.uint32), *rows])
        return Ragged(ids, offsets_of(np.array([len(r) for r in rows], np.int64)), self._ints)

    def count_batch(
        self,
        texts: Iterable[Text],
        *,
        threads: int | None = None,
        allowed_special: AllowedSpecial = (),
        errors: Errors = "replace",
    ) -> NDArray[np.int64]:
        """How many ids each of many texts has: int64[n]. No ids are built."""
        items, workers = text_items(texts), _threads.count(threads)
        if self._steps is not None or checking.on:
            return np.array([self.count(t, allowed_special=allowed_special, errors=errors) for t in items], np.int64)
        return _count(_text.Texts(self, *self._bits(allowed_special), items, is_strict(errors)), workers)

    def encode_files(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        separator: str | bytes | None = None,
        threads: int | None = None,
        allowed_special: AllowedSpecial = (),
    ) -> Ragged:
        """The ids of files, one row for each document.

        A file is one document, or with `separator` as many as it separates; the separator belongs to none, and no empty
        document follows one that ends the file. Files are read as bytes; nothing is decoded.
        """
        workers = _threads.count(threads)
        if self._steps is not None or checking.on:
            groups = []
            for data, ends in documents(paths, separator):
                items = [data[start:stop] for start, stop in ends]
                groups.append(self.encode_batch(items, threads=workers, allowed_special=allowed_special))
            return joined(groups)
        bits, mark = self._bits(allowed_special), mark_of(separator)
        with ExitStack() as stack:
            files = [measured(path, stack) for path in several(paths)]
            n_bytes = sum(size for _, size in files)

            def run(ids: NDArray[np.uint32] | None) -> tuple[int, NDArray[np.int64]]:
                with closing(opened(files)) as described:
                    batch = _text.Files(self, *bits, described, mark, n_bytes)
                    batch.begin(ids)
                    return _work(batch, workers, n_bytes), batch.counts()

            try:
                ids = np.empty(self._bound(n_bytes), np.uint32)
            except MemoryError:  # see _encode_texts
                ids = np.empty(run(None)[0], np.uint32)
            n, counts = run(ids)
            ids.resize(n, refcheck=False)
            return Ragged(ids, offsets_of(counts), self._ints)

    def _encode_texts(self, batch: _text.Texts, workers: int) -> Ragged:
        try:
            ids = np.empty(batch.room(), np.uint32)
        except MemoryError:  # the bound is several times what is needed, and the system may not promise as much
            ids = np.empty(int(_count(batch, workers).sum()), np.uint32)
        counts = np.zeros(len(batch), np.int64)
        batch.begin(ids, counts)
        ids.resize(_work(batch, workers, batch.size()), refcheck=False)
        return Ragged(ids, offsets_of(counts), self._ints)

    # Encoding by steps, where the pattern has no table or more than ids is asked for.

    def _segments(self, data: bytes, raw: Bits, normalized: Bits) -> Iterator[tuple[bytes, Origin, int | None]]:
        """Stretches of text in order, as the model sees them: (bytes, where they come from in `data`, id). Added tokens
        have their id, plain text has None.
        """
        for start, stop, token in gaps(len(data), self._matches(False, data, raw)):
            text, back = data[start:stop], None
            if token is None and self._spec.normalizer and (new := _text.nfc(text)) != text:
                text, back = new, start + alignment(text, new)
            inner = self._matches(True, text, normalized) if token is None else [(0, len(text), token)]
            for a, b, found in gaps(len(text), inner):
                yield text[a:b], start + a if back is None else back[a : b + 1], found

    def _pieces(self, text: bytes) -> tuple[bytes, NDArray[np.int64]]:
        """Normalized plain text as the pieces that the model sees: their bytes, one after another, and their ends."""
        if not isinstance(self._splitter, str):
            return self._splitter.split(text)
        if self._steps is None:
            return text, np.array(_text.split(self._splitter, text), np.int64)
        from lmfast.text.regex_split import pieces

        parts = [
            p.encode("utf-8", "surrogateescape") for p in pieces(text.decode("utf-8", "surrogateescape"), self._steps)
        ]
        return b"".join(parts), np.cumsum([len(p) for p in parts], dtype=np.int64)

    def _places(self, text: bytes) -> NDArray[np.int64]:
        """Where in a stretch each byte of its pieces comes from: int64[n, 2]."""
        from lmfast.text.regex_split import placed_pieces

        characters = text.decode("utf-8", "surrogateescape")
        sizes = [len(c.encode("utf-8", "surrogateescape")) for c in characters]
        at = offsets_of(np.array(sizes, np.int64))
        places = [np.empty((0, 2), np.int64)]
        for piece, start, prefixed in placed_pieces(characters, self._spec.pre_tokenizer):
            if prefixed:
                places.append(at[start : start + 2].reshape(1, 2))
            new = np.arange(at[start], at[start + len(piece) - prefixed])
            places.append(np.stack([new, new + 1], axis=1))
        return np.concatenate(places)

    def _encode_steps(self, data: bytes, raw: Bits, normalized: Bits) -> NDArray[np.uint32]:
        ids = [np.empty(0, np.uint32)]
        for text, _, token in self._segments(data, raw, normalized):
            ids.append(self._encode_pieces(*self._pieces(text)) if token is None else np.array([token], np.uint32))
        return np.concatenate(ids)

    def encode_with_offsets(
        self, text: Text, *, allowed_special: AllowedSpecial = (), errors: Errors = "replace"
    ) -> Offsets:
        """The ids of a text and where each comes from, in bytes of its UTF-8 and in characters.

        Offsets refer to the text as given: where normalization changed it, a token has the whole of the characters that
        were normalized together; an added token has the white space that it took along; a space that a PrefixSpace puts
        somewhere has the character behind it. Byte offsets of a text without these partition what is left of it.
        """
        data = utf8(text, is_strict(errors))
        raw, normalized = self._bits(allowed_special)
        keeps = all(isinstance(step, Split) and step.behavior != "removed" for step in self._spec.pre_tokenizer)
        ids, spans = [np.empty(0, np.uint32)], [np.empty((0, 2), np.int64)]
        for stretch, origin, token in self._segments(data, raw, normalized):
            if token is not None:
                found, at = np.array([token], np.uint32), np.array([[0, len(stretch)]], np.int64)
            else:
                pieces, ends = self._pieces(stretch)
                found = self._encode_pieces(pieces, ends)
                bounds = offsets_of(self._lengths[found].astype(np.int64))
                at = np.stack([bounds[:-1], bounds[1:]], axis=1)
                if not keeps:
                    places = self._places(stretch)
                    at = np.stack([places[bounds[:-1], 0], places[bounds[1:] - 1, 1]], axis=1)
            ids.append(found)
            if isinstance(origin, int):
                spans.append(origin + at)
            else:
                spans.append(np.stack([origin[at[:, 0], 0], origin[at[:, 1], 1]], axis=1))
        span = np.concatenate(spans)
        result = Offsets(np.concatenate(ids), span, character_offsets(data, span))
        if checking.on:
            checking.verify_offsets(self._spec, text, *result, allowed_special)
        return result

    def encoding(
        self,
        text: Text,
        pair: Text | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation: Strategy = "longest_first",
        truncation_side: Side = "right",
        stride: int = 0,
        pad_to: int | None = None,
        pad_id: int = 0,
        pad_type_id: int = 0,
        padding_side: Side = "right",
        allowed_special: AllowedSpecial = (),
        errors: Errors = "replace",
    ) -> Encoding:
        """One text, or two, as a model takes them: ids with segment ids, masks, offsets, and what was cut off.

        add_special_tokens  put the spec's post-processor around the ids
        max_length          cut to so many ids, special tokens included; None: no cut
        truncation          which text is cut: the longer one first, the first, or the second
        truncation_side     where it is cut
        stride              how many ids of one part the next part of `overflowing` repeats
        pad_to              fill up to so many ids with `pad_id`, of segment `pad_type_id`, on `padding_side`

        Errors: ValueError where the texts cannot be cut to `max_length` in the way that is asked for.
        """
        from lmfast.text.encoding import Layout, Trimming, lay_out, pad

        layout = Layout(
            add_special_tokens, max_length, truncation, truncation_side, stride, pad_id, pad_type_id, padding_side
        )
        texts = [text] if pair is None else [text, pair]
        found = [self.encode_with_offsets(t, allowed_special=allowed_special, errors=errors) for t in texts]
        trimmings = [Trimming(keeps, self._name) for keeps in self._spec.trimmings]
        result = lay_out([(o.ids, o.characters) for o in found], self._spec.template, layout, trimmings)
        return result if pad_to is None else pad(result, pad_to, layout)

    def encoding_batch(
        self,
        texts: Iterable[Text],
        pairs: Iterable[Text] | None = None,
        *,
        pad_to: int | Literal["longest"] | None = None,
        pad_to_multiple_of: int | None = None,
        pad_id: int = 0,
        pad_type_id: int = 0,
        padding_side: Side = "right",
        **options: Any,
    ) -> list[Encoding]:
        """Many texts, or pairs of them, as a model takes them; the options are those of `encoding`.

        pad_to              "longest": as long as the longest of all
        pad_to_multiple_of  ... and then up to a multiple of this
        """
        firsts = text_items(texts)
        seconds = [None] * len(firsts) if pairs is None else text_items(pairs)
        if len(firsts) != len(seconds):
            raise ValueError(f"{len(firsts)} texts and {len(seconds)} pairs; want as many of each")
        found = [self.encoding(a, b, **options) for a, b in zip(firsts, seconds, strict=True)]
        if pad_to is None or not found:
            return found
        from lmfast.text.encoding import Layout, pad

        length = max(map(len, found)) if pad_to == "longest" else pad_to
        length += -length % (pad_to_multiple_of or 1)
        layout = Layout(pad_id=pad_id, pad_type_id=pad_type_id, padding_side=padding_side)
        return [pad(encoding, length, layout) for encoding in found]

    # Other segmentations of a text than the one that `encode` gives; added tokens in it are plain text.

    def nbest(self, text: Text, n: int) -> list[tuple[NDArray[np.uint32], float]]:
        """The n best segmentations by a Unigram model, or as many as there are: ids and the sum of their scores.

        Errors: ValueError for another model.
        """
        raise self._no_choice("nbest", "Unigram")

    def sample(
        self, text: Text, *, seed: int, alpha: float | None = None, dropout: float | None = None
    ) -> NDArray[np.uint32]:
        """A random segmentation; the same seed gives the same one.

        alpha    for a Unigram model: the probability of a segmentation is proportional to exp(alpha * score)
        dropout  for a BPE over characters: the probability of passing over a merge

        Errors: ValueError for an argument that does not go with the model.
        """
        raise self._no_choice("sample", "Unigram, a ScoredBPE or a BPE over characters")

    def sample_and_score(
        self,
        text: Text,
        n: int,
        *,
        seed: int,
        alpha: float = 1.0,
        replacement: bool = True,
        include_best: bool = False,
    ) -> list[tuple[NDArray[np.uint32], float]]:
        """N random segmentations by a Unigram model with their log-probabilities; without `replacement` different ones,
        with the log-probability of being drawn, the best one first where `include_best` asks for it.

        Errors: ValueError for another model.
        """
        raise self._no_choice("sample_and_score", "Unigram")

    def entropy(self, text: Text, *, alpha: float = 1.0) -> float:
        """The entropy, in nats, of the segmentations that `sample` draws from. Errors: ValueError for another model."""
        raise self._no_choice("entropy", "Unigram")

    def _no_choice(self, what: str, wanted: str) -> ValueError:
        return ValueError(f"{what} needs a model that is {wanted}; this one is {type(self._spec.model).__name__}")

    def truncate(self, text: T, max_tokens: int, *, allowed_special: AllowedSpecial = ()) -> T:
        """The longest beginning of a text, up to a token and a character boundary of its, that has at most `max_tokens`
        ids.
        """
        if max_tokens < 0:
            raise ValueError(f"max_tokens = {max_tokens}; want 0 or more")
        data = utf8(text, False)
        # No id stands for more bytes than the longest token does, white space around added tokens excepted.
        found = self.encode_with_offsets(data, allowed_special=allowed_special)
        if len(found.ids) <= max_tokens:
            return text
        stop = int(found.bytes[max_tokens - 1, 1]) if max_tokens else 0
        boundaries = np.flatnonzero(np.append(character_starts(data), True))
        at = int(np.searchsorted(boundaries, stop, side="right")) - 1
        # What follows a cut decides where the last piece ends, so a beginning may need one id more than it had.
        while at and self.count(data[: boundaries[at]], allowed_special=allowed_special) > max_tokens:
            at -= 1
        kept = text[: str_index(text, at)] if isinstance(text, str) else text[: boundaries[at]]
        if checking.on:
            checking.verify_truncate(self._spec, text, max_tokens, kept, allowed_special)
        return kept

    def _post_process(self, ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
        template = self._spec.template
        if template is None:
            return ids
        parts = [ids if p.kind == "sequence" else np.array(p.ids, np.uint32) for p in template.single]
        return np.concatenate([np.empty(0, np.uint32), *parts])

    def _bits(self, allowed: AllowedSpecial) -> tuple[Bits, Bits]:
        """For each of the raw and the normalized added tokens, the bits of the special ones that are allowed."""
        if not allowed:
            return None, None
        if isinstance(allowed, str) and allowed != "all":
            raise TypeError(f"allowed_special = {allowed!r}: want 'all' or a collection of special tokens")
        key = allowed if isinstance(allowed, str) else frozenset(allowed)
        bits = self._allowed.get(key)
        if bits is None:
            if key != "all" and (unknown := sorted(set(key) - self._special.keys())):
                raise ValueError(
                    f"allowed_special: {unknown[0]!r} is no special token; these are: {list(self._special)}"
                )
            bits = allowed_bits(self._added[0], key), allowed_bits(self._added[1], key)
            if len(self._allowed) < 64:
                self._allowed[key] = bits
        return bits

    # Decoding.

    def decode(self, ids: ArrayLike, errors: str = "replace", *, skip_special_tokens: bool = False) -> str:
        """The text of ids. `errors` is what `bytes.decode` takes, for bytes that are not UTF-8.

        Errors: IndexError names the first id that is no token.
        """
        text: str
        if _are_ints(ids) and not skip_special_tokens:
            text = self._decode_list(ids, errors)
        else:
            ids = self._ids(ids, skip_special_tokens)
            text = self._decode(ids, errors)
        if checking.on:
            found = text.encode("utf-8", "surrogatepass")
            checking.verify_decode(self._spec, self._ids(ids, False), found, errors)
        return text

    def decode_bytes(self, ids: ArrayLike, *, skip_special_tokens: bool = False) -> bytes:
        """The bytes of ids, exactly: `decode_bytes(encode(x)) == x` for every text that normalization leaves alone."""
        data: bytes
        if _are_ints(ids) and not skip_special_tokens:
            data = self._decode_list(ids, None)
        else:
            ids = self._ids(ids, skip_special_tokens)
            data = self._decode(ids, None)
        if checking.on:
            checking.verify_decode(self._spec, self._ids(ids, False), data, None)
        return data

    def decode_batch(
        self, rows: Iterable[ArrayLike], errors: str = "replace", *, skip_special_tokens: bool = False
    ) -> list[str]:
        """The text of each row of ids."""
        return [self.decode(row, errors, skip_special_tokens=skip_special_tokens) for row in rows]

    def decoder(self, errors: str = "replace") -> StreamDecoder:
        """A decoder that takes ids as they come."""
        return StreamDecoder(self, errors)

    def _ids(self, ids: ArrayLike, skip_special_tokens: bool) -> NDArray[np.uint32]:
        array = np.asarray(ids)
        if array.ndim != 1:
            raise ValueError(f"ids: want one dimension, got shape {array.shape}")
        if array.dtype != np.uint32:
            if array.size == 0:
                return np.empty(0, np.uint32)
            if array.dtype.kind not in "iu":
                raise TypeError(f"ids: want integers, got {array.dtype}")
            if int(array.min()) < 0 or int(array.max()) >= len(self._lengths):
                bad = int(np.argmax((array < 0) | (array >= len(self._lengths))))
                raise IndexError(f"ids[{bad}] = {array[bad]} is outside [0, {len(self._lengths)})")
            array = array.astype(np.uint32)
        if skip_special_tokens and self._special:
            array = array[~np.isin(array, np.array(list(self._special.values()), np.uint32))]
        return np.ascontiguousarray(array)

    # The vocabulary.

    def id_to_bytes(self, token_id: int) -> bytes:
        """The bytes of an id. Errors: IndexError for an id that no token has."""
        if not 0 <= token_id < len(self._lengths) or not self._lengths[token_id]:
            raise IndexError(f"id {token_id} is no token; ids are in [0, {len(self._lengths)})")
        data: bytes = self._decode(np.array([token_id], np.uint32), None)
        return data

    def _name(self, token_id: int) -> str:
        """What an id is called in a `tokenizer.json`."""
        from lmfast.text.pipeline.bytes_alphabet import CHARACTER_OF

        token = self.id_to_bytes(token_id)
        is_added = self._contents.get(token) == token_id
        return token.decode() if is_added else "".join([CHARACTER_OF[byte] for byte in token])

    def bytes_to_id(self, token: bytes) -> int:
        """The id of a token of the model, or of an added token. Errors: KeyError for bytes that are no token."""
        added = self._contents.get(token)
        found: int | None = self._find(token) if added is None else added
        if found is None:
            raise KeyError(f"{token!r} is no token")
        return found

    @property
    def vocab_size(self) -> int:
        """One more than the largest id: the rows that an embedding needs."""
        return len(self._lengths)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens and their ids."""
        return dict(self._special)

    @property
    def spec(self) -> TokenizerSpec:
        """The spec that this tokenizer is compiled from."""
        return self._spec

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json` or, where the name ends so, a `.tiktoken` rank file; the file is whole or not there.

        Errors: ValueError with the reason where the format cannot hold the spec.
        """
        from lmfast.text import formats

        formats.write(self._spec, path)

    def explain(self) -> str:
        """Which path each part of the tokenizer takes, a line each."""
        spec, (all_form, n_odd) = self._spec, self._properties()
        pieces = f"{self._splitter}, compiled" if isinstance(self._splitter, str) else "a table, compiled"
        if self._steps is not None:
            pieces = "regex package: exact, slow"
        heap = f"; heap, n log n, where one of {n_odd} tokens occurs" if n_odd else ""
        return "\n".join(
            [
                f"added tokens   {len(spec.added_tokens)} ({len(self._special)} special)",
                f"normalizer     {', '.join(type(n).__name__ for n in spec.normalizer) or 'none'}",
                f"pre-tokenizer  {pieces}",
                f"model          BPE by {'ranks' if spec.bpe.merges is None else 'merges'}, {len(spec.model.vocab)} "
                f"tokens{'' if all_form else ', some of which no merge makes'}",
                f"long pieces    backtracking, linear{heap}",
                f"unicode        {spec.unicode}",
                f"isa            {self._isa or _text.isa_best()}",
                f"cache          {self._cache_bytes or CACHE_BYTES} bytes a call",
            ]
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._spec == other._spec

    def __hash__(self) -> int:
        return hash(self._spec)

    def __reduce__(self) -> tuple[Callable[..., Tokenizer], tuple[object, ...]]:
        return partial(type(self), cache_bytes=self._cache_bytes, isa=self._isa), (self._spec,)

    def __repr__(self) -> str:
        return f"Tokenizer({self._spec.name or 'BPE'}, {self.vocab_size} ids)"


class StreamDecoder:
    """Text from ids one at a time. A character is given out when its last byte has come.

    The texts of `push` and `finish` joined are what `decode` gives for all ids together.
    """

    def __init__(self, tokenizer: Tokenizer, errors: str = "replace") -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors)

    def push(self, token_id: int) -> str:
        """The text that an id completes, possibly none. Errors: IndexError for an id that no token has."""
        return self._decoder.decode(self._tokenizer.id_to_bytes(token_id))

    def finish(self) -> str:
        """The text of bytes still held back, by the rule of `errors`; the decoder can be used anew."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


def cache_room(cache_bytes: int | None) -> int:
    """The bytes of a cache. Errors: ValueError for too few."""
    room = CACHE_BYTES if cache_bytes is None else cache_bytes
    if room < _LEAST_CACHE:
        raise ValueError(f"cache_bytes = {room}; want at least {_LEAST_CACHE}")
    return room


def _are_ints(ids: object) -> TypeGuard[list[int]]:
    """Whether ids are a list that begins with an int of Python's own; a list of numpy's goes the way of arrays."""
    return type(ids) is list and (not ids or type(ids[0]) is int)


def _positions(ids: NDArray[np.uint32], wanted: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Where ids stand among those of a vocabulary, if they do."""
    if ids.size and int(ids[-1]) == ids.size - 1:  # they are their positions
        at: NDArray[np.uint32] = np.minimum(wanted, np.uint32(ids.size))
        return at
    return np.searchsorted(ids, wanted).astype(np.uint32)


def _work(batch: _text.Batch, workers: int, size: int) -> int:
    """Encodes a batch of so many characters; how many ids there are."""
    workers = min(workers, 1 + size // _PART)
    batch.shared = workers > 1
    _threads.run([batch.work] * workers, workers, stop=batch.stop)
    return batch.finish()


def _count(batch: _text.Texts, workers: int) -> NDArray[np.int64]:
    counts = np.zeros(len(batch), np.int64)
    batch.begin(None, counts)
    _work(batch, workers, batch.size())
    return counts
