# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The door to csrc/text/unigram_train.h: learning the pieces of a Unigram model."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

cimport cython

import numpy as np

from lmfast._lf cimport LF_EINDEX, LF_ENOMEM, LF_EVALUE, LF_OK, lf_status

cdef extern from "text/unigram_train.h" nogil:
    int LF_UNIGRAM_MOST_PIECES
    int LF_UNIGRAM_LONGEST
    ctypedef struct lf_unigram_rules:
        int exact
        uint32_t n_sums
        size_t seed_size
        uint32_t max_length
        uint32_t least_closed
        int split_by_script
        int split_by_number
        int split_digits
        int split_by_whitespace
        int whitespace_as_suffix
        int whitespace_only
        int in_order
        const uint32_t *characters
        const uint8_t *scripts
        size_t n_characters
    ctypedef enum lf_unigram_stage:
        LF_UNIGRAM_SORT
        LF_UNIGRAM_LINK
        LF_UNIGRAM_FILL
        LF_UNIGRAM_EXPECT
        LF_UNIGRAM_COMPACT
        LF_UNIGRAM_VITERBI
        LF_UNIGRAM_LOSS
        LF_UNIGRAM_SHADOW
    ctypedef struct lf_unigram_trainer:
        pass
    lf_status lf_unigram_new(lf_unigram_trainer **trainer, const lf_unigram_rules *rules, const uint8_t *blob,
                             const int64_t *offsets, const int64_t *counts, size_t n_words, const uint8_t *last,
                             size_t n_last, size_t *where)
    void lf_unigram_free(lf_unigram_trainer *trainer)
    size_t lf_unigram_parts(const lf_unigram_trainer *trainer, lf_unigram_stage stage)
    lf_status lf_unigram_run(lf_unigram_trainer *trainer, lf_unigram_stage stage, size_t part)
    lf_status lf_unigram_select(lf_unigram_trainer *trainer)
    lf_status lf_unigram_lay(lf_unigram_trainer *trainer)
    lf_status lf_unigram_begin(lf_unigram_trainer *trainer)
    lf_status lf_unigram_add(lf_unigram_trainer *trainer, double *log_likelihood)
    lf_status lf_unigram_maximize(lf_unigram_trainer *trainer)
    lf_status lf_unigram_prune(lf_unigram_trainer *trainer, size_t target)
    lf_status lf_unigram_reach(lf_unigram_trainer *trainer)
    size_t lf_unigram_alive(const lf_unigram_trainer *trainer)
    size_t lf_unigram_size(const lf_unigram_trainer *trainer, size_t *n_bytes)
    void lf_unigram_pieces(const lf_unigram_trainer *trainer, uint8_t *blob, int64_t *offsets, double *scores,
                           double *numbers, double *losses)
    void lf_unigram_count_characters(const uint8_t *blob, const int64_t *offsets, const int64_t *word_counts,
                                     size_t n_words, int64_t *counts)

LONGEST = LF_UNIGRAM_LONGEST
MOST_PIECES = LF_UNIGRAM_MOST_PIECES
cdef dict STAGES = {"sort": LF_UNIGRAM_SORT, "link": LF_UNIGRAM_LINK, "fill": LF_UNIGRAM_FILL,
                    "expect": LF_UNIGRAM_EXPECT, "compact": LF_UNIGRAM_COMPACT, "viterbi": LF_UNIGRAM_VITERBI,
                    "loss": LF_UNIGRAM_LOSS, "shadow": LF_UNIGRAM_SHADOW}


@cython.final
cdef class Trainer:
    """One training; see csrc/text/unigram_train.h. Parts of a stage may run at the same time, nothing else."""

    cdef lf_unigram_trainer *trainer

    def __cinit__(self, const uint8_t[::1] blob not None, const int64_t[::1] offsets not None,
                  const int64_t[::1] counts not None, const uint32_t[::1] characters not None,
                  const uint8_t[::1] scripts not None, *, bint exact, uint32_t n_sums, size_t seed_size,
                  uint32_t max_length, bint split_by_script, bint split_by_number, bint split_digits,
                  bint split_by_whitespace, bint whitespace_as_suffix, bint whitespace_only,
                  bint in_order=False, bytes last=None, uint32_t least_closed=2):
        cdef size_t n = <size_t>counts.shape[0], where = 0, n_last = len(last) if last is not None else 0
        cdef uint8_t nothing = 0
        cdef uint32_t no_character = 0
        cdef int64_t no_count = 1
        cdef const uint8_t *last_word = <const uint8_t *>PyBytes_AS_STRING(last) if last is not None else NULL
        cdef const uint8_t *text = &blob[0] if blob.shape[0] else &nothing
        cdef const int64_t *numbers = &counts[0] if n else &no_count
        cdef lf_unigram_rules rules
        cdef lf_status status
        if offsets.shape[0] != counts.shape[0] + 1:
            raise ValueError(f"offsets: want shape ({n + 1},), got ({offsets.shape[0]},)")
        if offsets[0] < 0 or offsets[n] > blob.shape[0]:
            raise ValueError(f"offsets: want the range [0, {blob.shape[0]}], got [{offsets[0]}, {offsets[n]}]")
        if scripts.shape[0] != characters.shape[0]:
            raise ValueError(f"scripts: want shape ({characters.shape[0]},), got ({scripts.shape[0]},)")
        for i in range(<size_t>characters.shape[0]):
            if characters[i] > 0x10FFFF or (i and characters[i] <= characters[i - 1]):
                raise ValueError(f"characters[{i}] = {characters[i]}; want rising numbers up to 0x10FFFF")
        rules.exact = exact
        rules.n_sums = n_sums
        rules.seed_size = seed_size
        rules.max_length = max_length
        rules.least_closed = least_closed
        rules.split_by_script = split_by_script
        rules.split_by_number = split_by_number
        rules.split_digits = split_digits
        rules.split_by_whitespace = split_by_whitespace
        rules.whitespace_as_suffix = whitespace_as_suffix
        rules.whitespace_only = whitespace_only
        rules.in_order = in_order
        rules.n_characters = <size_t>characters.shape[0]
        rules.characters = &characters[0] if rules.n_characters else &no_character
        rules.scripts = &scripts[0] if rules.n_characters else &nothing
        with nogil:
            status = lf_unigram_new(&self.trainer, &rules, text, &offsets[0], numbers, n, last_word, n_last, &where)
        if status == LF_EVALUE and where < n:
            raise ValueError(f"word {where}: counted {counts[where]} times; at least 1 is allowed")
        if status == LF_EVALUE and where == n + 2:
            raise ValueError(f"seed_size = {seed_size} with {rules.n_characters} characters and max_length = {max_length}: "
                             f"at most {LF_UNIGRAM_MOST_PIECES} pieces of 1 to {LF_UNIGRAM_LONGEST} characters are allowed")
        if status == LF_EVALUE:
            raise OverflowError("too much text: the words have 2**32 characters or more" if where == n + 1 else
                                "the counts times the lengths of the words reach 2**63")
        check(status)

    def __dealloc__(self):
        lf_unigram_free(self.trainer)

    def parts(self, str stage not None):
        """How many parts a stage has."""
        return lf_unigram_parts(self.trainer, STAGES[stage])

    def run(self, str stage not None, size_t part):
        """One part of a stage."""
        cdef lf_unigram_stage number = STAGES[stage]
        cdef lf_status status
        if part >= lf_unigram_parts(self.trainer, number):
            raise IndexError(f"part {part} of {stage}; want one below {lf_unigram_parts(self.trainer, number)}")
        with nogil:
            status = lf_unigram_run(self.trainer, number, part)
        check(status)

    def select(self):
        """After "sort": takes the best seeds."""
        cdef lf_status status
        with nogil:
            status = lf_unigram_select(self.trainer)
        check(status)

    def lay(self):
        """After "link": finds room for the edges."""
        cdef lf_status status
        with nogil:
            status = lf_unigram_lay(self.trainer)
        if status == LF_EINDEX:
            raise OverflowError("too much text: pieces begin at 2**32 places or more; use a smaller seed_size")
        check(status)

    def begin(self):
        """After "fill": the passes may begin."""
        cdef lf_status status
        with nogil:
            status = lf_unigram_begin(self.trainer)
        check(status)

    def add(self):
        """After "expect" or "viterbi": adds up what was counted; the log-likelihood."""
        cdef double log_likelihood = 0
        check(lf_unigram_add(self.trainer, &log_likelihood))
        return log_likelihood

    def maximize(self):
        """Sets scores by the expectations."""
        check(lf_unigram_maximize(self.trainer))

    def prune(self, size_t target):
        """After "loss": keeps the best pieces, about so many."""
        check(lf_unigram_prune(self.trainer, target))

    def reach(self):
        """After "shadow": drops what cannot be reached."""
        check(lf_unigram_reach(self.trainer))

    def alive(self):
        """How many pieces have a probability."""
        return lf_unigram_alive(self.trainer)

    def pieces(self):
        """(blob, int64[n + 1] offsets, float64[n] scores, numbers, losses) of the pieces; those without a probability have
        the score -inf."""
        cdef size_t n_bytes
        cdef size_t n = lf_unigram_size(self.trainer, &n_bytes)
        blob = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n_bytes)
        offsets = np.empty(n + 1, np.int64)
        numbers = np.empty((3, n + 1))
        cdef int64_t[::1] offset_view = offsets
        cdef double[:, ::1] view = numbers
        lf_unigram_pieces(self.trainer, <uint8_t *>PyBytes_AS_STRING(blob), &offset_view[0], &view[0, 0], &view[1, 0],
                          &view[2, 0])
        return blob, offsets, numbers[0, :n], numbers[1, :n], numbers[2, :n]


def count_characters(const uint8_t[::1] blob not None, const int64_t[::1] offsets not None,
                     const int64_t[::1] counts not None):
    """How often each character occurs in words, int64[0x110000]; word i is blob[offsets[i]:offsets[i + 1]]. A newline at
    the end of a word is not counted, and a byte that is part of no character is U+FFFD."""
    cdef size_t n = <size_t>counts.shape[0]
    found = np.zeros(0x110000, np.int64)
    cdef int64_t[::1] view = found
    if offsets.shape[0] != counts.shape[0] + 1:
        raise ValueError(f"offsets: want shape ({n + 1},), got ({offsets.shape[0]},)")
    if offsets[0] < 0 or offsets[n] > blob.shape[0]:
        raise ValueError(f"offsets: want the range [0, {blob.shape[0]}], got [{offsets[0]}, {offsets[n]}]")
    if n:
        with nogil:
            lf_unigram_count_characters(&blob[0], &offsets[0], &counts[0], n, &view[0])
    return found


cdef int check(lf_status status) except -1:
    if status == LF_OK:
        return 0
    if status == LF_ENOMEM:
        raise MemoryError("no memory to train a Unigram model")
    raise ValueError("a step before this one is missing")
