# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The door to csrc/text/stack.h: any stack of components whose words are encoded one by one."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_New
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

import numpy as np

from lmfast._lf cimport LF_EVALUE, LF_OK, lf_status
from lmfast.text cimport _engine
from lmfast.text._converted import KINDS, OPTIONS, SCHEMES
from lmfast.text._sentencepiece cimport LF_SP_MOST
from lmfast.text._steps cimport (
    LF_AUTOMATON_PAGE, LF_AUTOMATON_PAGES, LF_STEP_PATTERN, lf_automaton, lf_automaton_new, lf_prepend, lf_step, set_step,
)
from lmfast.text._wordpiece cimport lf_wordpiece, lf_wordpiece_new

cdef extern from "text/word_bpe.h" nogil:
    ctypedef struct lf_word_parts:
        const uint32_t *symbols
        size_t n_symbols
        const uint32_t *merges
        size_t n_merges
        const uint32_t *fallback
        const uint8_t *prefix
        const uint8_t *suffix
        size_t n_prefix
        size_t n_suffix
        uint32_t n_ids
        uint32_t unknown_id
        int fuse_unknown
        int by_bytes
        const uint8_t *blob
        const int64_t *offsets
        const uint32_t *ids
        size_t n_whole
    ctypedef struct lf_word_bpe:
        pass
    lf_status lf_word_bpe_new(lf_word_bpe **m, const lf_word_parts *parts)

cdef extern from "text/stack.h" nogil:
    enum:
        LF_STACK_STEPS
        LF_STACK_STAGES
    ctypedef enum lf_cut:
        LF_N_CUTS
    ctypedef struct lf_stage:
        lf_automaton automaton
        lf_cut cut
        int invert
        const uint8_t *mark
        size_t n_mark
        lf_prepend prepend
    ctypedef struct lf_stack:
        lf_step steps[24]
        lf_stage stages[16]
        size_t n_steps
        size_t n_stages
        lf_wordpiece *pieces
        lf_word_bpe *bpe
        uint32_t n_ids
    ctypedef struct lf_stack_words:
        uint8_t *bytes
        int64_t *ends
        size_t n
        size_t n_words
    lf_status lf_stack_init(lf_stack *stack)
    void lf_stack_free(lf_stack *stack)
    size_t lf_stack_bound(const lf_stack *stack, size_t n)
    ctypedef struct lf_stack_workspace:
        pass
    lf_status lf_stack_workspace_new(lf_stack_workspace **w, const lf_stack *stack, size_t cache_bytes)
    void lf_stack_workspace_free(lf_stack_workspace *w)
    lf_status lf_stack_encode(lf_stack_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                              int64_t *spans, size_t *n_ids)
    lf_status lf_stack_split(lf_stack_workspace *w, const uint8_t *text, size_t n, lf_stack_words *words)
    void lf_stack_words_free(lf_stack_words *words)

CUTS = ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous")
MOST_STEPS = LF_STACK_STEPS
MOST_STAGES = LF_STACK_STAGES
cdef uint32_t NO_UNIT = (1 << 28) - 1  # LF_UNIT_NONE
cdef uint32_t NO_ID = 0xFFFFFFFF  # LF_WORD_NO_ID


cdef class StackEngine(_engine.Engine):
    """A compiled tokenizer, an `lmfast.text.engine.Engine`.

    model        "words" and the arguments of `_set_words`, or "bpe" and those of `_set_bpe`
    n_ids        ids are below it
    steps        the normalizers in order: a name in lmfast.text._converted.KINDS, one in OPTIONS, and two strings; or
                 "pattern", "", an `Automaton` and what its matches become
    stages       the pre-tokenizers in order: an `Automaton`, a name in CUTS, and whether matches are swapped with what
                 lies between them; or a mark and a name in SCHEMES
    cache_bytes  of each workspace; there is one for each thread that encodes at the same time

    Errors: ValueError for what is not as described.
    """
    cdef lf_stack stack
    cdef list keep

    def __init__(self, tuple model not None, uint32_t n_ids, list steps not None, list stages not None,
                 size_t cache_bytes):
        if self.keep is not None:
            raise ValueError("the engine has been compiled already")
        if len(steps) > LF_STACK_STEPS or len(stages) > LF_STACK_STAGES:
            raise ValueError(f"{len(steps)} steps and {len(stages)} stages; want at most {LF_STACK_STEPS} and "
                             f"{LF_STACK_STAGES}")
        self.keep = [model, steps, stages]
        self.cache_bytes = cache_bytes
        self.stack.n_ids = n_ids
        kind, *arguments = model
        check((self._set_words if kind == "words" else self._set_bpe)(*arguments), "the model")
        for step in steps:
            self._add_step(*step)
        for stage in stages:
            add_stage(&self.stack, stage)
        check(lf_stack_init(&self.stack), "a step")

    def _set_words(self, bytes blob not None, const int64_t[::1] offsets not None, const uint32_t[::1] ids not None,
                   bytes prefix not None, int64_t unk_id, size_t max_chars, bint whole):
        # the tokens, what one that goes on begins with, -1 where a word without ids is an error, WordLevel
        self._check_tokens(blob, offsets, ids)
        cdef uint32_t none = 0
        return lf_wordpiece_new(&self.stack.pieces, <const uint8_t *>PyBytes_AS_STRING(blob), &offsets[0],
                                &ids[0] if ids.shape[0] else &none, <size_t>ids.shape[0],
                                <const uint8_t *>PyBytes_AS_STRING(prefix), <size_t>len(prefix),
                                NO_UNIT if unk_id < 0 else <uint32_t>unk_id, max_chars, whole)

    def _set_bpe(self, const uint32_t[:, ::1] symbols not None, const uint32_t[:, ::1] merges not None,
                 const uint32_t[::1] fallback, bytes prefix not None, bytes suffix not None, int64_t unk_id,
                 bint fuse_unknown, bint by_bytes, tuple whole):
        # as lf_word_parts has them; whole is None or blob, offsets and ids
        cdef lf_word_parts parts
        cdef bytes blob = b""
        cdef const int64_t[::1] offsets
        cdef const uint32_t[::1] ids
        if symbols.shape[1] != 2 or merges.shape[1] != 3 or (fallback is not None and fallback.shape[0] != 256):
            raise ValueError("want symbols[n, 2], merges[m, 3] and fallback[256] or none")
        for array in (symbols[:, 1], merges, *(() if fallback is None else [fallback])):
            numbers = np.asarray(array)
            if np.any((numbers >= self.stack.n_ids) & (numbers != NO_ID)):
                raise ValueError(f"want ids below {self.stack.n_ids}")
        parts.symbols = &symbols[0, 0] if symbols.shape[0] else NULL
        parts.n_symbols = <size_t>symbols.shape[0]
        parts.merges = &merges[0, 0] if merges.shape[0] else NULL
        parts.n_merges = <size_t>merges.shape[0]
        parts.fallback = NULL
        if fallback is not None:
            parts.fallback = &fallback[0]
        parts.prefix, parts.n_prefix = <const uint8_t *>PyBytes_AS_STRING(prefix), <size_t>len(prefix)
        parts.suffix, parts.n_suffix = <const uint8_t *>PyBytes_AS_STRING(suffix), <size_t>len(suffix)
        parts.n_ids, parts.unknown_id = self.stack.n_ids, NO_ID if unk_id < 0 else <uint32_t>unk_id
        parts.fuse_unknown, parts.by_bytes = fuse_unknown, by_bytes
        parts.blob, parts.offsets, parts.ids, parts.n_whole = NULL, NULL, NULL, 0
        if whole is not None and len(whole[2]):
            blob, offsets, ids = whole
            self._check_tokens(blob, offsets, ids)
            parts.blob, parts.offsets = <const uint8_t *>PyBytes_AS_STRING(blob), &offsets[0]
            parts.ids, parts.n_whole = &ids[0], <size_t>ids.shape[0]
        return lf_word_bpe_new(&self.stack.bpe, &parts)

    def _check_tokens(self, bytes blob, const int64_t[::1] offsets, const uint32_t[::1] ids):
        cdef Py_ssize_t n = ids.shape[0]
        if offsets.shape[0] != n + 1 or offsets[0] != 0 or offsets[n] != len(blob) or np.any(np.diff(offsets) < 0):
            raise ValueError(f"offsets: want {n + 1} that rise from 0 to {len(blob)}")
        if np.any(np.asarray(ids) >= self.stack.n_ids):
            raise ValueError(f"ids: want them below {self.stack.n_ids}")

    def _add_step(self, str kind not None, str option not None, source not None, bytes target not None):
        cdef lf_step *step = &self.stack.steps[self.stack.n_steps]
        self.stack.n_steps += 1
        if kind == "pattern":
            set_step(step, LF_STEP_PATTERN, 0, b"", target)
            add_automaton(&step.automaton, source)
        else:
            set_step(step, KINDS[kind], OPTIONS[option], source, target)

    def __dealloc__(self):
        lf_stack_free(&self.stack)

    cdef size_t room(self, size_t n) noexcept nogil:
        return lf_stack_bound(&self.stack, n)

    cdef lf_status workspace_new(self, void **w) noexcept nogil:
        return lf_stack_workspace_new(<lf_stack_workspace **>w, &self.stack, self.cache_bytes)

    cdef void workspace_free(self, void *w) noexcept nogil:
        lf_stack_workspace_free(<lf_stack_workspace *>w)

    cdef lf_status encode(self, void *w, const uint8_t *text, size_t n, bint first, uint32_t *ids, int64_t *spans,
                          size_t *n_ids) noexcept nogil:
        return lf_stack_encode(<lf_stack_workspace *>w, text, n, first, ids, spans, n_ids)

    cdef object failure(self, lf_status status, Py_ssize_t i, size_t n):
        if status == LF_EVALUE:
            return ValueError(f"text {i} has a word that is unknown, and this model has no unknown token; or its {n} "
                              f"bytes are too many, or become so: at most {LF_SP_MOST} are allowed")
        return _engine.Engine.failure(self, status, i, n)


cdef class Splitter:
    """Pre-tokenizers alone: `stages` as those of a `StackEngine`. Any number of threads may use it.

    Errors: ValueError for what is not as described.
    """
    cdef lf_stack stack
    cdef list keep

    def __init__(self, list stages not None):
        if self.keep is not None:
            raise ValueError("the stages have been compiled already")
        self.keep = stages
        for stage in stages:
            add_stage(&self.stack, stage)
        check(lf_stack_init(&self.stack), "a stage")

    @property
    def stages(self):
        """The `lf_stack` itself, for a door that keeps the splitter as long."""
        return PyCapsule_New(&self.stack, "lf_stack", NULL)

    @property
    def doublings(self):
        """How many stages may make a text twice as long, with a mark for each of its pieces."""
        return sum(len(stage) == 2 for stage in self.keep)

    def __dealloc__(self):
        lf_stack_free(&self.stack)

    def split(self, const uint8_t[::1] text not None):
        """The pieces of a text, one after another, and where each ends: bytes, int64[n]."""
        cdef lf_stack_words words
        cdef lf_stack_workspace *w = NULL
        cdef size_t n = <size_t>text.shape[0]
        cdef int64_t[::1] view
        cdef lf_status status
        memset(&words, 0, sizeof(words))
        try:
            check(lf_stack_workspace_new(&w, &self.stack, 0), "a workspace")
            with nogil:
                status = lf_stack_split(w, &text[0] if n else NULL, n, &words)
            if status == LF_EVALUE:
                raise ValueError(f"a text of {n} bytes is too long; want at most {LF_SP_MOST}")
            if status != LF_OK:
                raise MemoryError(f"no memory to split {n} bytes")
            ends = np.empty(words.n_words, np.int64)
            if words.n_words:
                view = ends
                memcpy(&view[0], words.ends, words.n_words * sizeof(int64_t))
            return PyBytes_FromStringAndSize(<char *>words.bytes, <Py_ssize_t>words.n) if words.n else b"", ends
        finally:
            lf_stack_words_free(&words)
            lf_stack_workspace_free(w)


cdef int check(lf_status status, str what) except -1:
    if status == LF_EVALUE:
        raise ValueError(f"{what} is not as it has to be, or too large")
    if status != LF_OK:
        raise MemoryError("no memory for the tokenizer")
    return 0


cdef int add_automaton(lf_automaton *a, object found) except -1:
    cdef const uint16_t[::1] pages = found.pages
    cdef const uint8_t[::1] blocks = found.blocks
    cdef const uint16_t[:, ::1] table = found.table
    if pages.shape[0] != LF_AUTOMATON_PAGES or not blocks.shape[0] or blocks.shape[0] % LF_AUTOMATON_PAGE or \
            not table.shape[0] or not table.shape[1]:
        raise ValueError(f"want pages[{LF_AUTOMATON_PAGES}] and blocks of {LF_AUTOMATON_PAGE} classes, got "
                         f"{pages.shape[0]} and {blocks.shape[0]}")
    check(lf_automaton_new(a, &pages[0], &blocks[0], <size_t>blocks.shape[0] // LF_AUTOMATON_PAGE, &table[0, 0],
                           <size_t>table.shape[0], <size_t>table.shape[1]), "an automaton")
    return 0


cdef int add_stage(lf_stack *stack, tuple stage) except -1:
    if stack.n_stages == LF_STACK_STAGES:
        raise ValueError(f"want at most {LF_STACK_STAGES} stages")
    cdef lf_stage *s = &stack.stages[stack.n_stages]
    cdef int number
    stack.n_stages += 1
    if len(stage) == 3:
        add_automaton(&s.automaton, stage[0])
        number = CUTS.index(stage[1])
        s.cut, s.invert = <lf_cut>number, stage[2]
    else:
        if not 1 <= len(stage[0]) <= 4:
            raise ValueError(f"the mark is {stage[0]!r}; want one character")
        s.mark, s.n_mark = <const uint8_t *>PyBytes_AS_STRING(stage[0]), <size_t>len(stage[0])
        s.prepend = SCHEMES[stage[1]]
    return 0
