# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The door to what training needs of csrc/text: counting words and learning merges."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from lmfast._lf cimport LF_EINDEX, LF_EVALUE, LF_OK, lf_isa, lf_status
from lmfast.text import _text
from lmfast.text._sentencepiece cimport (
    lf_charsmap, lf_charsmap_free, lf_charsmap_new, lf_double_array, lf_sp_normalizer, lf_sp_normalizer_init,
    lf_sp_options, lf_sp_text,
)
from lmfast.text._split cimport (
    LF_SPLIT_CL100K, LF_SPLIT_GPT2, LF_SPLIT_LLAMA3, LF_SPLIT_NONE, LF_SPLIT_O200K, LF_SPLIT_QWEN2, lf_split,
    lf_unicode, lf_unicode_for,
)

cdef extern from "text/words.h" nogil:
    ctypedef struct lf_words:
        pass
    lf_status lf_words_new(lf_words **words, lf_isa isa, lf_split split, const lf_unicode *unicode)
    void lf_words_free(lf_words *words)
    lf_status lf_words_count(lf_words *words, const uint8_t *text, size_t n, const int64_t *spans, size_t n_spans,
                             uint64_t position, size_t *where)
    lf_status lf_words_add(lf_words *words, const uint8_t *blob, const int64_t *offsets, const int64_t *counts,
                           const uint64_t *firsts, size_t n_words, size_t *where)
    lf_status lf_words_merge(lf_words *words, const lf_words *other)
    void lf_words_clear(lf_words *words)
    size_t lf_words_memory(const lf_words *words)
    unsigned LF_WORDS_PARTS
    size_t lf_words_size(const lf_words *words, size_t *n_bytes)
    lf_status lf_words_export(const lf_words *words, uint8_t *blob, int64_t *offsets, int64_t *counts, uint64_t *firsts,
                              int64_t *ends)
    void lf_words_gather(const uint8_t *blob, const int64_t *offsets, const int64_t *order, size_t n_words, uint8_t *out,
                         int64_t *out_offsets)
    size_t lf_words_cut(lf_split split, const lf_unicode *unicode, const uint8_t *text, size_t n)
    size_t lf_words_whitespace(const lf_unicode *unicode, const uint8_t *text, size_t stop, size_t *at, int64_t *spans,
                               size_t n_most)
    size_t lf_words_spans(const uint8_t *text, size_t n, const uint8_t *separator, size_t n_separator, int64_t *spans,
                          size_t n_most, size_t *n_spans)

cdef extern from "text/trie.h" nogil:
    ctypedef struct lf_trie:
        uint32_t *values
    lf_status lf_trie_new(lf_trie *trie, size_t max_nodes)
    void lf_trie_free(lf_trie *trie)
    uint32_t lf_trie_insert(lf_trie *trie, const uint8_t *string, size_t n)

cdef extern from "text/double_array.h" nogil:
    lf_status lf_double_array_new(lf_double_array *array, const lf_trie *trie)
    void lf_double_array_free(lf_double_array *array)

cdef extern from "text/sentences.h" nogil:
    ctypedef enum lf_sentences_behind:
        LF_BEHIND_NOTHING
        LF_BEHIND_ENDS
        LF_BEHIND_NEXT
    ctypedef struct lf_sentences_rules:
        const lf_sp_normalizer *normalizer
        const lf_double_array *marks
        size_t max_bytes
        int split_by_whitespace
        int spaces_last
        int spaces_alone
        lf_sentences_behind behind
    ctypedef struct lf_sentences:
        lf_sp_text text
        lf_sp_text ends
        const int64_t *offsets
        size_t n_words
        size_t n_lines
    lf_status lf_sentences_split(lf_sentences *words, const lf_sentences_rules *rules, const uint8_t *text, size_t start,
                                 size_t stop)
    void lf_sentences_free(lf_sentences *words)

cdef extern from "text/piece_rules.h" nogil:
    enum:
        LF_PIECE_SPACE
        LF_PIECE_SPACES
        LF_PIECE_SPACE_FIRST
        LF_PIECE_SPACE_LAST
        LF_PIECE_ALONE
        LF_SCRIPT_ANY
        LF_SCRIPT_NONE
    ctypedef struct lf_piece_rules:
        uint16_t max_characters
        uint8_t spaces_within
        uint8_t spaces_last
        uint8_t spaces_alone

cdef extern from "text/bpe_train.h" nogil:
    ctypedef enum lf_ties:
        LF_TIES_IDS
        LF_TIES_FIRST
        LF_TIES_LEXMAX
        LF_TIES_PIECES
    ctypedef struct lf_bpe_rules:
        lf_ties ties
        uint64_t min_count
        uint32_t max_length
        uint32_t first_id
        uint32_t n_ids
        const uint8_t *strings
        const int64_t *string_at
        const uint32_t *string_ids
        size_t n_strings
        size_t n_symbols
        const uint8_t *prefix
        size_t n_prefix
        int repeats
        lf_piece_rules pieces
        const uint8_t *flags
        const uint8_t *scripts
        int keeps
        const uint32_t *seeds
        size_t n_seeds
    ctypedef struct lf_bpe_words:
        const void *blob
        const int64_t *offsets
        const int64_t *counts
        size_t n_words
        const uint32_t *symbols
    unsigned LF_NOT_A_SYMBOL
    unsigned LF_A_BREAK
    ctypedef struct lf_bpe_merge:
        uint32_t left
        uint32_t right
        uint32_t id
        int64_t count
    ctypedef struct lf_bpe_trainer:
        pass
    lf_status lf_bpe_trainer_new(lf_bpe_trainer **trainer, const lf_bpe_rules *rules, const lf_bpe_words *words,
                                 size_t *where)
    void lf_bpe_trainer_free(lf_bpe_trainer *trainer)
    lf_status lf_bpe_trainer_run(lf_bpe_trainer *trainer, size_t n_merges, size_t *n_done)
    size_t lf_bpe_trainer_vocab_size(const lf_bpe_trainer *trainer, size_t *n_bytes)
    void lf_bpe_trainer_vocab(const lf_bpe_trainer *trainer, uint8_t *blob, int64_t *offsets, uint32_t *ids)
    const lf_bpe_merge *lf_bpe_trainer_merges(const lf_bpe_trainer *trainer, size_t *n_merges)
    const uint8_t *lf_bpe_trainer_token(const lf_bpe_trainer *trainer, uint32_t id, size_t *n)
    const uint64_t *lf_bpe_trainer_born(const lf_bpe_trainer *trainer, size_t *n_pairs)

cdef dict SPLITTERS = {"none": LF_SPLIT_NONE, "gpt2": LF_SPLIT_GPT2, "cl100k": LF_SPLIT_CL100K,
                       "llama3": LF_SPLIT_LLAMA3, "qwen2": LF_SPLIT_QWEN2, "o200k": LF_SPLIT_O200K}
cdef dict TIES = {"ids": LF_TIES_IDS, "first": LF_TIES_FIRST, "lexmax": LF_TIES_LEXMAX, "pieces": LF_TIES_PIECES}
PARTS = LF_WORDS_PARTS
NOT_A_SYMBOL = LF_NOT_A_SYMBOL
A_BREAK = LF_A_BREAK
SPACE = LF_PIECE_SPACE | LF_PIECE_SPACES | LF_PIECE_SPACE_FIRST | LF_PIECE_SPACE_LAST
ALONE = LF_PIECE_ALONE
SCRIPT_ANY = LF_SCRIPT_ANY
SCRIPT_NONE = LF_SCRIPT_NONE
cdef enum:
    SOME_SPANS = 4096


cdef class Words:
    """A table of words and counts; see csrc/text/words.h. One thread at a time."""

    cdef lf_words *words

    def __cinit__(self, str splitter not None, str isa=None):
        isa = isa or _text.isa_best()
        if isa not in _text.isas():
            raise ValueError(f"isa {isa!r} is not available here; available: {', '.join(_text.isas())}")
        cdef int number = _text.ISA_NAMES.index(isa)
        if lf_words_new(&self.words, <lf_isa>number, SPLITTERS[splitter], lf_unicode_for(16)) != LF_OK:
            raise MemoryError("no memory for a table of words")

    def __dealloc__(self):
        lf_words_free(self.words)

    def count(self, const uint8_t[::1] text not None, const int64_t[:, ::1] spans not None, uint64_t position):
        """Counts the pieces of the documents text[start:stop] for each row (start, stop) of int64[n, 2] spans."""
        cdef size_t n = <size_t>text.shape[0], n_spans = <size_t>spans.shape[0], where = 0
        cdef lf_status status
        if spans.shape[1] != 2:
            raise ValueError(f"spans: want shape (n, 2), got (n, {spans.shape[1]})")
        if n == 0 or n_spans == 0:
            return
        with nogil:
            status = lf_words_count(self.words, &text[0], n, &spans[0, 0], n_spans, position, &where)
        if status == LF_EINDEX:
            raise ValueError(f"spans[{where}] = {spans[where, 0]}, {spans[where, 1]} does not lie in a text of {n} bytes")
        if status == LF_EVALUE:
            raise OverflowError("a word is counted 2**63 times or more")
        if status != LF_OK:
            raise MemoryError("no memory for more words")

    def add(self, const uint8_t[::1] blob not None, const int64_t[::1] offsets not None,
            const int64_t[::1] counts not None, const uint64_t[::1] firsts not None):
        """Adds counted words; word i is blob[offsets[i]:offsets[i + 1]], which must lie in the blob, first seen at
        firsts[i]."""
        cdef size_t n = <size_t>counts.shape[0], where = 0
        cdef lf_status status
        if offsets.shape[0] != counts.shape[0] + 1:
            raise ValueError(f"offsets: want shape ({n + 1},), got ({offsets.shape[0]},)")
        if firsts.shape[0] != counts.shape[0]:
            raise ValueError(f"firsts: want shape ({n},), got ({firsts.shape[0]},)")
        if n == 0:
            return
        if offsets[0] < 0 or offsets[n] > blob.shape[0]:
            raise ValueError(f"offsets: want the range [0, {blob.shape[0]}], got [{offsets[0]}, {offsets[n]}]")
        with nogil:
            status = lf_words_add(self.words, &blob[0], &offsets[0], &counts[0], &firsts[0], n, &where)
        if status == LF_EVALUE and counts[where] > 0 and offsets[where + 1] > offsets[where]:
            raise OverflowError(f"word {where}: it is counted 2**63 times or more")
        if status == LF_EVALUE:
            raise ValueError(f"word {where}: {offsets[where + 1] - offsets[where]} bytes, counted {counts[where]} times; "
                             "both must be at least 1")
        if status != LF_OK:
            raise MemoryError("no memory for more words")

    def merge(self, Words other not None):
        """Adds all of another table, which keeps what it has."""
        cdef lf_status status
        with nogil:
            status = lf_words_merge(self.words, other.words)
        if status == LF_EVALUE:
            raise OverflowError("a word is counted 2**63 times or more")
        if status != LF_OK:
            raise MemoryError("no memory for more words")

    def clear(self):
        """Forgets all words."""
        lf_words_clear(self.words)

    def export(self):
        """(blob, int64[n + 1] offsets, int64[n] counts, uint64[n] firsts) of the words in the order in which they were
        first seen."""
        return self.rows(NULL)

    def export_parts(self):
        """The same in the order of PARTS parts, which a word's hash chooses, and int64[PARTS], where each part ends."""
        ends = np.empty(LF_WORDS_PARTS, np.int64)
        cdef int64_t[::1] end_view = ends
        return self.rows(&end_view[0]), ends

    cdef rows(self, int64_t *ends):
        cdef size_t n_bytes
        cdef size_t n = lf_words_size(self.words, &n_bytes)
        blob = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n_bytes)
        offsets = np.empty(n + 1, np.int64)
        counts = np.empty(n + 1, np.int64)
        firsts = np.empty(n + 1, np.uint64)
        cdef int64_t[::1] offset_view = offsets, count_view = counts
        cdef uint64_t[::1] first_view = firsts
        cdef uint8_t *bytes_ = <uint8_t *>PyBytes_AS_STRING(blob)
        cdef lf_status status
        with nogil:
            status = lf_words_export(self.words, bytes_, &offset_view[0], &count_view[0], &first_view[0], ends)
        if status != LF_OK:
            raise MemoryError(f"no memory to sort {n} words")
        return blob, offsets, counts[:n], firsts[:n]

    def memory(self):
        """How many bytes the table takes."""
        return lf_words_memory(self.words)

    def __len__(self):
        cdef size_t n_bytes
        return lf_words_size(self.words, &n_bytes)


def count_whitespace(Words words not None, const uint8_t[::1] text not None, const int64_t[:, ::1] spans not None,
                     uint64_t position):
    r"""Counts the matches of \w+|[^\w\s]+ in the documents text[start:stop] for each row (start, stop) of spans."""
    cdef size_t n_text = <size_t>text.shape[0], i, at, n, where = 0
    cdef int64_t found[SOME_SPANS][2]
    cdef const lf_unicode *unicode = lf_unicode_for(16)
    cdef lf_status status = LF_OK
    if spans.shape[1] != 2:
        raise ValueError(f"spans: want shape (n, 2), got (n, {spans.shape[1]})")
    for i in range(<size_t>spans.shape[0]):
        if not 0 <= spans[i, 0] <= spans[i, 1] <= <int64_t>n_text:
            raise ValueError(f"spans[{i}] = {spans[i, 0]}, {spans[i, 1]} does not lie in a text of {n_text} bytes")
    if n_text == 0:
        return
    with nogil:
        for i in range(<size_t>spans.shape[0]):
            at = <size_t>spans[i, 0]
            while status == LF_OK and at < <size_t>spans[i, 1]:
                n = lf_words_whitespace(unicode, &text[0], <size_t>spans[i, 1], &at, &found[0][0], SOME_SPANS)
                if n:
                    status = lf_words_count(words.words, &text[0], n_text, &found[0][0], n, position, &where)
    if status == LF_EVALUE:
        raise OverflowError("a word is counted 2**63 times or more")
    if status != LF_OK:
        raise MemoryError("no memory for more words")


def gather(bytes blob not None, const int64_t[::1] offsets not None, const int64_t[::1] order not None):
    """(blob, int64[n + 1] offsets) of words in another order; `order` is a permutation of the n words' numbers."""
    cdef size_t n = <size_t>order.shape[0]
    if offsets.shape[0] != order.shape[0] + 1:
        raise ValueError(f"offsets: want shape ({n + 1},), got ({offsets.shape[0]},)")
    if not np.array_equal(np.sort(order), np.arange(n)) or np.any(np.diff(offsets) < 0):
        raise ValueError(f"order: want a permutation of the numbers of {n} words")
    if offsets[0] != 0 or offsets[n] != len(blob):
        raise ValueError(f"offsets: want the range [0, {len(blob)}], got [{offsets[0]}, {offsets[n]}]")
    out = PyBytes_FromStringAndSize(NULL, len(blob))
    at = np.empty(n + 1, np.int64)
    cdef int64_t[::1] at_view = at
    cdef const uint8_t *from_ = <const uint8_t *>PyBytes_AS_STRING(blob)
    cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(out)
    if n == 0:
        return b"", np.zeros(1, np.int64)
    with nogil:
        lf_words_gather(from_, &offsets[0], &order[0], n, to, &at_view[0])
    return out, at


def cut(str splitter not None, const uint8_t[::1] text not None):
    """The last place at which a text may be cut without changing its pieces, 0 if there is none; see lf_words_cut."""
    cdef size_t n = <size_t>text.shape[0], at
    cdef lf_split split = SPLITTERS[splitter]
    if n == 0:
        return 0
    with nogil:
        at = lf_words_cut(split, lf_unicode_for(16), &text[0], n)
    return at


def spans(const uint8_t[::1] text not None, const uint8_t[::1] separator not None):
    """int64[n, 2]: where the documents of a text lie between separators; at least one, the last reaching to the end."""
    cdef size_t n = <size_t>text.shape[0], at = 0, n_spans = 0, i
    cdef int64_t found[SOME_SPANS][2]
    cdef int64_t[:, ::1] view
    if separator.shape[0] == 0:
        raise ValueError("separator is empty; want at least one byte")
    parts = []
    while n:
        with nogil:
            i = lf_words_spans(&text[at], n - at, &separator[0], <size_t>separator.shape[0], &found[0][0], SOME_SPANS,
                               &n_spans)
        part = np.empty((n_spans, 2), np.int64)
        view = part
        memcpy(&view[0, 0], found, n_spans * 2 * sizeof(int64_t))
        part += <int64_t>at
        if n_spans < SOME_SPANS or at + i == n:
            parts.append(part)
            break
        parts.append(part[:n_spans - 1])
        at += i
    return np.concatenate(parts) if parts else np.zeros((1, 2), np.int64)


cdef dict BEHIND = {"nothing": LF_BEHIND_NOTHING, "ends": LF_BEHIND_ENDS, "next": LF_BEHIND_NEXT}


cdef class Sentences:
    """What sentencepiece makes of lines before it trains on them; see csrc/text/sentences.h. Immutable.

    charsmap    the rules of normalization; empty: none
    marks       the pieces that are replaced by U+001F
    max_bytes   longer lines are left out
    behind      what is written behind words: "nothing"; "ends": a newline behind the last of a line; "next": a newline and
                the first character of the next word, the last of a line being left out
    """

    cdef lf_charsmap *charsmap
    cdef lf_double_array marks
    cdef lf_sp_normalizer normalizer
    cdef lf_sentences_rules rules

    def __cinit__(self, const uint8_t[::1] charsmap not None, list marks not None, *, bint add_dummy_prefix,
                  bint remove_extra_whitespaces, bint treat_whitespace_as_suffix, size_t max_bytes,
                  bint split_by_whitespace, bint allow_whitespace_only_pieces, str behind not None="nothing"):
        cdef size_t where = 0, n_nodes = 1 + sum(map(len, marks))
        cdef lf_sp_options options
        cdef lf_trie trie
        cdef lf_status status
        cdef bytes mark
        if charsmap.shape[0]:
            status = lf_charsmap_new(&self.charsmap, &charsmap[0], <size_t>charsmap.shape[0], &where)
            if status == LF_EVALUE:
                raise ValueError(f"charsmap: damaged at byte {where}")
            if status != LF_OK:
                raise MemoryError("no memory for a charsmap")
        if lf_trie_new(&trie, n_nodes) != LF_OK:
            raise MemoryError("no memory for a trie")
        for mark in marks:
            trie.values[lf_trie_insert(&trie, <const uint8_t *>PyBytes_AS_STRING(mark), <size_t>len(mark))] = 0
        status = lf_double_array_new(&self.marks, &trie)
        lf_trie_free(&trie)
        if status != LF_OK:
            raise MemoryError("no memory for a trie")
        options.add_dummy_prefix = add_dummy_prefix
        options.remove_extra_whitespaces = remove_extra_whitespaces
        options.escape_whitespaces = 1
        options.treat_whitespace_as_suffix = treat_whitespace_as_suffix
        lf_sp_normalizer_init(&self.normalizer, self.charsmap, NULL, options)
        self.rules.normalizer = &self.normalizer
        self.rules.marks = &self.marks if marks else NULL
        self.rules.max_bytes = max_bytes
        self.rules.split_by_whitespace = split_by_whitespace
        self.rules.spaces_last = treat_whitespace_as_suffix
        self.rules.spaces_alone = allow_whitespace_only_pieces
        self.rules.behind = BEHIND[behind]

    def __dealloc__(self):
        lf_charsmap_free(self.charsmap)
        lf_double_array_free(&self.marks)

    def count(self, Words words not None, const uint8_t[::1] text not None, const int64_t[:, ::1] spans not None,
              uint64_t position, counts=None):
        """Adds to `words` those of the lines in text[start:stop] for each row of int64[n, 2] spans, each once, or as often
        as int64[n] counts says; text[0] has the position `position`.

        Where something is written behind words, returns (ends, counts): of each line that is not left out its first
        character and its last word, followed by a newline, and int64 how often it occurs."""
        cdef size_t n_text = <size_t>text.shape[0], i, n = <size_t>spans.shape[0], at = 0
        cdef const int64_t[::1] count_view = np.ones(n, np.int64) if counts is None else counts
        cdef lf_sentences found
        cdef lf_status status = LF_OK
        cdef int64_t[::1] word_counts
        if spans.shape[1] != 2:
            raise ValueError(f"spans: want shape (n, 2), got (n, {spans.shape[1]})")
        if <size_t>count_view.shape[0] != n:
            raise ValueError(f"counts: want shape ({n},), got ({count_view.shape[0]},)")
        for i in range(n):
            if not 0 <= spans[i, 0] <= spans[i, 1] <= <int64_t>n_text:
                raise ValueError(f"spans[{i}] = {spans[i, 0]}, {spans[i, 1]} does not lie in a text of {n_text} bytes")
        memset(&found, 0, sizeof(found))
        up_to = np.zeros((2, n + 1), np.int64)  # words and lines up to each span
        cdef int64_t[:, ::1] up_to_view = up_to
        try:
            with nogil:
                for i in range(n if n_text else 0):
                    status = lf_sentences_split(&found, &self.rules, &text[0], <size_t>spans[i, 0], <size_t>spans[i, 1])
                    if status != LF_OK:
                        break
                    up_to_view[0, i + 1] = <int64_t>found.n_words
                    up_to_view[1, i + 1] = <int64_t>found.n_lines
            if status != LF_OK:
                raise MemoryError("no memory for the words of lines")
            if found.n_words:
                word_counts = np.repeat(count_view, np.diff(up_to[0]))
                firsts = np.arange(position, position + found.n_words, dtype=np.uint64)
                words.add(<const uint8_t[:found.text.n]>found.text.bytes,
                          <const int64_t[:found.n_words + 1]>found.offsets, word_counts, firsts)
            if self.rules.behind == LF_BEHIND_NOTHING:
                return None
            ends = PyBytes_FromStringAndSize(<const char *>found.ends.bytes, <Py_ssize_t>found.ends.n)
            return ends, np.repeat(count_view, np.diff(up_to[1]))
        finally:
            lf_sentences_free(&found)


cdef class Trainer:
    """Learns merges from counted words; see csrc/text/bpe_train.h.

    blob        the words, of bytes, or where `symbols` is None, of uint32 ids
    symbols     uint32[256], the id of each byte
    strings     pairs (bytes, id): the symbols, the first `n_symbols`, then strings that have ids already
    first_id    the id of the first merge
    n_ids       ends when all ids below are given
    ties        a name in TIES
    prefix      what the second symbol of a pair loses
    repeats     symbols may have strings that others make
    pieces      (max_characters, spaces_within, spaces_last, spaces_alone): what sentencepiece lets a piece have, with
                uint8[n_symbols] flags and scripts
    keeps       remembers all pairs, for `born`
    seeds       uint32[m, 2]: merges to begin with, pairs of ids

    An id in a word may also be NOT_A_SYMBOL (left out) or A_BREAK (its neighbours stay apart).
    """

    cdef lf_bpe_trainer *trainer

    def __cinit__(self, const uint8_t[::1] blob not None, const int64_t[::1] offsets not None,
                  const int64_t[::1] counts not None, symbols, *, list strings not None, size_t n_symbols,
                  uint32_t first_id, uint32_t n_ids, str ties not None, uint64_t min_count, uint32_t max_length,
                  const uint32_t[:, ::1] seeds not None, bytes prefix not None=b"", bint repeats=False, pieces=None,
                  flags=None, scripts=None, bint keeps=False):
        cdef size_t n = <size_t>counts.shape[0], where = 0, n_blob = <size_t>blob.shape[0]
        cdef lf_status status
        cdef int64_t nothing = 0
        cdef lf_bpe_rules rules
        cdef lf_bpe_words words
        cdef const uint32_t[::1] symbol_view
        cdef const uint8_t[::1] flag_view, script_view
        if offsets.shape[0] != counts.shape[0] + 1:
            raise ValueError(f"offsets: want shape ({n + 1},), got ({offsets.shape[0]},)")
        words.symbols = NULL
        if symbols is None:
            n_blob //= sizeof(uint32_t)
        else:
            symbol_view = symbols
            if symbol_view.shape[0] != 256:
                raise ValueError(f"symbols: want shape (256,), got ({symbol_view.shape[0]},)")
            words.symbols = &symbol_view[0]
        if offsets[0] < 0 or offsets[n] > <int64_t>n_blob:
            raise ValueError(f"offsets: want the range [0, {n_blob}], got [{offsets[0]}, {offsets[n]}]")
        if n_symbols > <size_t>len(strings):
            raise ValueError(f"n_symbols = {n_symbols}; there are {len(strings)} strings")
        joined = b"".join(string for string, _ in strings)
        cdef int64_t[::1] string_at = np.cumsum([0, *(len(string) for string, _ in strings)], dtype=np.int64)
        cdef uint32_t[::1] string_ids = np.array([i for _, i in strings] + [0], np.uint32)
        rules.ties = TIES[ties]
        rules.min_count = min_count
        rules.max_length = max_length
        rules.first_id = first_id
        rules.n_ids = n_ids
        rules.strings = <const uint8_t *>PyBytes_AS_STRING(joined)
        rules.string_at = &string_at[0]
        rules.string_ids = &string_ids[0]
        rules.n_strings = <size_t>len(strings)
        rules.n_symbols = n_symbols
        rules.prefix = <const uint8_t *>PyBytes_AS_STRING(prefix)
        rules.n_prefix = <size_t>len(prefix)
        rules.repeats = repeats
        rules.keeps = keeps
        rules.pieces.max_characters = 0
        rules.flags = rules.scripts = NULL
        if (ties == "pieces") != (pieces is not None):
            raise ValueError("pieces: want them with ties = 'pieces', and only then")
        if pieces is not None:
            (rules.pieces.max_characters, rules.pieces.spaces_within, rules.pieces.spaces_last,
             rules.pieces.spaces_alone) = pieces
            flag_view, script_view = flags, scripts
            if rules.pieces.max_characters == 0:
                raise ValueError("pieces: max_characters = 0; want at least 1")
            if <size_t>flag_view.shape[0] != n_symbols or <size_t>script_view.shape[0] != n_symbols:
                raise ValueError(f"flags, scripts: want shape ({n_symbols},)")
            if n_symbols:
                rules.flags, rules.scripts = &flag_view[0], &script_view[0]
        if seeds.shape[1] != 2:
            raise ValueError(f"seeds: want shape (n, 2), got (n, {seeds.shape[1]})")
        rules.n_seeds = <size_t>seeds.shape[0]
        rules.seeds = &seeds[0, 0] if rules.n_seeds else NULL
        words.blob = &blob[0] if n_blob else <const void *>&nothing
        words.offsets = &offsets[0]
        words.counts = &counts[0] if n else &nothing
        words.n_words = n
        with nogil:
            status = lf_bpe_trainer_new(&self.trainer, &rules, &words, &where)
        if status == LF_EINDEX and where:
            raise ValueError(f"seeds[{where - 1}] = {seeds[where - 1, 0]}, {seeds[where - 1, 1]} names an id that is no "
                             f"symbol yet, or there is no id below {n_ids} left for it")
        if status == LF_EINDEX:
            raise ValueError(f"first_id = {first_id}, n_ids = {n_ids}: the ids of strings must be below, and words have "
                             "the ids of symbols")
        if status == LF_EVALUE and where < n:
            raise ValueError(f"word {where}: counted {counts[where]} times; at least 1 is allowed")
        if status == LF_EVALUE and where == n:
            raise OverflowError("the words have 2**63 symbols or more in all")
        if status == LF_EVALUE:
            raise ValueError(f"{n} different words with {offsets[n]} symbols are too many: symbols and words together must "
                             "be below 2**32")
        if status != LF_OK:
            raise MemoryError(f"no memory to train on {n} words of {offsets[n]} symbols")

    def __dealloc__(self):
        lf_bpe_trainer_free(self.trainer)

    def run(self, size_t n_merges):
        """Goes on until there are n_merges in all, or no more can be made; how many there are."""
        cdef size_t n_done = 0
        cdef lf_status status
        with nogil:
            status = lf_bpe_trainer_run(self.trainer, n_merges, &n_done)
        if status != LF_OK:
            raise MemoryError(f"no memory after {n_done} merges")
        return n_done

    def merges(self, size_t start=0):
        """uint32[m, 3], left, right and new id of each merge from number `start` on, and int64[m], how often each pair
        occurred."""
        cdef size_t n = 0, i
        cdef const lf_bpe_merge *made = lf_bpe_trainer_merges(self.trainer, &n)
        start = min(start, n)
        ids = np.empty((n - start, 3), np.uint32)
        counts = np.empty(n - start, np.int64)
        cdef uint32_t[:, ::1] id_view = ids
        cdef int64_t[::1] count_view = counts
        for i in range(n - start):
            id_view[i, 0] = made[start + i].left
            id_view[i, 1] = made[start + i].right
            id_view[i, 2] = made[start + i].id
            count_view[i] = made[start + i].count
        return ids, counts

    def last(self):
        """The token that the last merge made; empty before the first."""
        cdef size_t n = 0
        cdef const lf_bpe_merge *made = lf_bpe_trainer_merges(self.trainer, &n)
        cdef const uint8_t *token
        if n == 0:
            return b""
        token = lf_bpe_trainer_token(self.trainer, made[n - 1].id, &n)
        return PyBytes_FromStringAndSize(<const char *>token, <Py_ssize_t>n)

    def vocab(self):
        """(uint32[n] ids, int64[n + 1] offsets, blob): the symbols and what merges made, by rising id."""
        cdef size_t n_bytes
        cdef size_t n = lf_bpe_trainer_vocab_size(self.trainer, &n_bytes)
        blob = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n_bytes)
        offsets = np.empty(n + 1, np.int64)
        ids = np.empty(n + 1, np.uint32)
        cdef int64_t[::1] offset_view = offsets
        cdef uint32_t[::1] id_view = ids
        cdef uint8_t *bytes_ = <uint8_t *>PyBytes_AS_STRING(blob)
        with nogil:
            lf_bpe_trainer_vocab(self.trainer, bytes_, &offset_view[0], &id_view[0])
        return ids[:n], offsets, blob

    def born(self):
        """uint64[n]: every pair that ever occurred and may be merged, as left (32) | right (32); with `keeps`."""
        cdef size_t n = 0
        cdef const uint64_t *found = lf_bpe_trainer_born(self.trainer, &n)
        pairs = np.empty(n, np.uint64)
        cdef uint64_t[::1] view = pairs
        if n:
            memcpy(&view[0], found, n * sizeof(uint64_t))
        return pairs
