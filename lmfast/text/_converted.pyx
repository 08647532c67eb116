# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The door to csrc/text/converted.h and character_bpe.h: sentencepiece's models as tokenizer.json, compiled."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

import numpy as np

from lmfast._lf cimport LF_EVALUE, LF_OK, lf_status
from lmfast.text cimport _engine
from lmfast.text._normalize cimport (
    LF_CLEAN, LF_LOWERCASE, LF_NFC, LF_NFD, LF_NFKC, LF_NFKD, LF_NMT, LF_SPACE_IDEOGRAPHS, LF_STRIP_ACCENTS,
    LF_STRIP_NONSPACING,
)
from lmfast.text._sentencepiece cimport (
    LF_RULE_TOKENIZERS, LF_SP_NO_ID, LF_SP_UNIGRAM, lf_sp_options, lf_sp_parts,
)
from lmfast.text._steps cimport (
    LF_PREPEND_ALWAYS, LF_PREPEND_FIRST, LF_PREPEND_NEVER, LF_STEP_FORM, LF_STEP_PRECOMPILED, LF_STEP_PREPEND,
    LF_STEP_REPLACE, LF_STEP_REWRITE, LF_STEP_SPACES, LF_STEP_STRIP, lf_prepend, lf_step, set_step,
)

cdef extern from "text/converted.h" nogil:
    enum:
        LF_CONVERTED_STEPS
    ctypedef struct lf_metaspace:
        const uint8_t *mark
        size_t n_mark
        lf_prepend prepend
        int split
        int by_white_space
    ctypedef struct lf_converted:
        pass
    ctypedef struct lf_converted_workspace:
        pass
    lf_status lf_converted_new(lf_converted **c, const lf_sp_parts *parts, const lf_metaspace *metaspace,
                               const lf_step *steps, size_t n_steps, size_t *where)
    void lf_converted_free(lf_converted *c)
    size_t lf_converted_bound(const lf_converted *c, size_t n)
    lf_status lf_converted_workspace_new(lf_converted_workspace **w, const lf_converted *c, size_t cache_bytes)
    void lf_converted_workspace_free(lf_converted_workspace *w)
    lf_status lf_converted_encode(lf_converted_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                                  int64_t *spans, size_t *n_ids)

cdef extern from "text/character_bpe.h" nogil:
    ctypedef enum lf_prefix:
        LF_PREFIX_NEVER
        LF_PREFIX_FIRST
        LF_PREFIX_UNLESS_THERE
        LF_PREFIX_ALWAYS
    ctypedef struct lf_character_bpe:
        pass
    ctypedef struct lf_character_workspace:
        pass
    lf_status lf_character_bpe_new(lf_character_bpe **bpe, const uint8_t *blob, const int64_t *offsets, uint32_t n_ids,
                                   const uint32_t *merges, size_t n_merges, lf_prefix prefix, size_t *where)
    void lf_character_bpe_free(lf_character_bpe *bpe)
    size_t lf_character_bpe_bound(const lf_character_bpe *bpe, size_t n)
    lf_status lf_character_workspace_new(lf_character_workspace **w, const lf_character_bpe *bpe, size_t cache_bytes)
    void lf_character_workspace_free(lf_character_workspace *w)
    lf_status lf_character_bpe_encode(lf_character_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                                      int64_t *spans, size_t *n_ids)

KINDS = {
    "precompiled": LF_STEP_PRECOMPILED,
    "replace": LF_STEP_REPLACE,
    "spaces": LF_STEP_SPACES,
    "strip": LF_STEP_STRIP,
    "prepend": LF_STEP_PREPEND,
    "rewrite": LF_STEP_REWRITE,
    "form": LF_STEP_FORM,
}
OPTIONS = {
    "lowercase": LF_LOWERCASE,
    "strip_accents": LF_STRIP_ACCENTS,
    "strip_nonspacing": LF_STRIP_NONSPACING,
    "clean": LF_CLEAN,
    "space_ideographs": LF_SPACE_IDEOGRAPHS,
    "nmt": LF_NMT,
    "NFC": LF_NFC,
    "NFD": LF_NFD,
    "NFKC": LF_NFKC,
    "NFKD": LF_NFKD,
    "left": 1,
    "right": 2,
    "both": 3,
    "": 0,
}
SCHEMES = {"never": LF_PREPEND_NEVER, "first": LF_PREPEND_FIRST, "always": LF_PREPEND_ALWAYS}
PREFIXES = {
    "never": LF_PREFIX_NEVER,
    "first": LF_PREFIX_FIRST,
    "unless there": LF_PREFIX_UNLESS_THERE,
    "always": LF_PREFIX_ALWAYS,
}


cdef class UnigramEngine(_engine.Engine):
    """A compiled tokenizer, an `lmfast.text.engine.Engine`.

    pieces          blob, int64[n + 1] offsets, float64[n] scores, uint8[n] of `Kind`, by id
    unknown_id      what an unknown character becomes
    byte_fallback   whether it becomes its bytes where there are pieces for them
    steps           the normalizers in order: a name in KINDS, one in OPTIONS, and two strings (csrc/text/steps.h)
    metaspace       the mark, a name in SCHEMES, whether words begin with marks, whether the text is cut at white space before
    cache_bytes     of each workspace; there is one for each thread that encodes at the same time

    Errors: ValueError for a piece given twice, a score that is no number, a step that is not as described.
    """
    cdef lf_converted *engine
    cdef object keep

    def __init__(self, tuple pieces not None, int64_t unknown_id, bint byte_fallback, list steps not None,
                 tuple metaspace not None, size_t cache_bytes):
        if self.engine != NULL:
            raise ValueError("the engine has been compiled already")
        cdef bytes blob = pieces[0]
        cdef const int64_t[::1] offsets = pieces[1]
        cdef const double[::1] scores = pieces[2]
        cdef const uint8_t[::1] kinds = pieces[3]
        cdef Py_ssize_t n = kinds.shape[0], i
        if offsets.shape[0] != n + 1 or scores.shape[0] != n or not n:
            raise ValueError(f"want offsets[{n + 1}] and scores[{n}] beside kinds[{n}], which is not empty, got "
                             f"{offsets.shape[0]} and {scores.shape[0]}")
        if offsets[0] != 0 or offsets[n] != len(blob) or np.any(np.diff(offsets) < 0):
            raise ValueError(f"offsets: want them to rise from 0 to {len(blob)}")
        if not 0 <= unknown_id < n:
            raise ValueError(f"unknown_id = {unknown_id} is outside [0, {n})")
        if len(steps) > LF_CONVERTED_STEPS:
            raise ValueError(f"{len(steps)} steps; want at most {LF_CONVERTED_STEPS}")
        cdef bytes mark = metaspace[0], source, target
        if not 1 <= len(mark) <= 4:
            raise ValueError(f"the mark is {mark!r}; want one character")
        self.keep = (pieces, steps, metaspace)
        self.cache_bytes = cache_bytes
        cdef lf_sp_parts parts
        parts.blob = <const uint8_t *>PyBytes_AS_STRING(blob)
        parts.offsets = &offsets[0]
        parts.scores = &scores[0]
        parts.kinds = &kinds[0]
        parts.n_ids = <uint32_t>n
        parts.unknown_id = <uint32_t>unknown_id
        parts.byte_fallback = byte_fallback
        parts.family = LF_SP_UNIGRAM
        parts.rule = LF_RULE_TOKENIZERS
        parts.charsmap = NULL
        parts.n_charsmap = 0
        parts.options = lf_sp_options(0, 0, 0, 0)
        cdef lf_step compiled[LF_CONVERTED_STEPS]
        for i, (kind, option, source, target) in enumerate(steps):
            set_step(&compiled[i], KINDS[kind], OPTIONS[option], source, target)
        cdef lf_metaspace options = lf_metaspace(<const uint8_t *>PyBytes_AS_STRING(mark), <size_t>len(mark),
                                                 SCHEMES[metaspace[1]], metaspace[2], metaspace[3])
        cdef size_t where = 0, n_steps = <size_t>len(steps)
        cdef lf_status status
        with nogil:
            status = lf_converted_new(&self.engine, &parts, &options, compiled, n_steps, &where)
        if status == LF_EVALUE:
            raise ValueError("a step is damaged" if where == LF_SP_NO_ID - 2 else
                             "the pieces are too many" if where >= <size_t>n else
                             f"piece {where}, {blob[offsets[where]:offsets[where + 1]]!r}, is given twice or scores no number")
        if status != LF_OK:
            raise MemoryError("no memory for the tokenizer")

    def __dealloc__(self):
        lf_converted_free(self.engine)

    cdef size_t room(self, size_t n) noexcept nogil:
        return lf_converted_bound(self.engine, n)

    cdef lf_status workspace_new(self, void **w) noexcept nogil:
        return lf_converted_workspace_new(<lf_converted_workspace **>w, self.engine, self.cache_bytes)

    cdef void workspace_free(self, void *w) noexcept nogil:
        lf_converted_workspace_free(<lf_converted_workspace *>w)

    cdef lf_status encode(self, void *w, const uint8_t *text, size_t n, bint first, uint32_t *ids, int64_t *spans,
                          size_t *n_ids) noexcept nogil:
        return lf_converted_encode(<lf_converted_workspace *>w, text, n, first, ids, spans, n_ids)


cdef class CharacterEngine(_engine.Engine):
    """A compiled BPE over characters with byte fallback, an `lmfast.text.engine.Engine`.

    blob, offsets   token i is blob[offsets[i]:offsets[i + 1]], empty where an id has none; int64[n + 1]
    merges          uint32[m, 2] pairs of ids, the strongest first
    prefix          where a space is put before a text, a name in PREFIXES
    cache_bytes     of each workspace; there is one for each thread that encodes at the same time

    Errors: ValueError for tokens that are given twice, too long or too many.
    """
    cdef lf_character_bpe *engine
    cdef object keep

    def __init__(self, bytes blob not None, const int64_t[::1] offsets not None, const uint32_t[:, ::1] merges not None,
                 str prefix not None, size_t cache_bytes):
        if self.engine != NULL:
            raise ValueError("the engine has been compiled already")
        cdef Py_ssize_t n = offsets.shape[0] - 1
        if n < 1 or offsets[0] != 0 or offsets[n] != len(blob) or np.any(np.diff(offsets) < 0):
            raise ValueError(f"offsets: want them to rise from 0 to {len(blob)}")
        if merges.shape[1] != 2 or np.any(np.asarray(merges) >= n):
            raise ValueError(f"merges: want pairs of ids below {n}")
        self.keep = (blob, np.asarray(offsets))
        self.cache_bytes = cache_bytes
        cdef const uint8_t *bytes_ = <const uint8_t *>PyBytes_AS_STRING(blob)
        cdef const uint32_t *pairs = &merges[0, 0] if merges.shape[0] else NULL
        cdef lf_prefix where_put = PREFIXES[prefix]
        cdef size_t where = 0
        cdef lf_status status
        with nogil:
            status = lf_character_bpe_new(&self.engine, bytes_, &offsets[0], <uint32_t>n, pairs,
                                          <size_t>merges.shape[0], where_put, &where)
        if status == LF_EVALUE:
            raise ValueError("there are too many tokens or merges" if where >= <size_t>n else
                             f"token {where}, {blob[offsets[where]:offsets[where + 1]]!r}, is given twice or too long")
        if status != LF_OK:
            raise MemoryError("no memory for the tokenizer")

    def __dealloc__(self):
        lf_character_bpe_free(self.engine)

    cdef size_t room(self, size_t n) noexcept nogil:
        return lf_character_bpe_bound(self.engine, n)

    cdef lf_status workspace_new(self, void **w) noexcept nogil:
        return lf_character_workspace_new(<lf_character_workspace **>w, self.engine, self.cache_bytes)

    cdef void workspace_free(self, void *w) noexcept nogil:
        lf_character_workspace_free(<lf_character_workspace *>w)

    cdef lf_status encode(self, void *w, const uint8_t *text, size_t n, bint first, uint32_t *ids, int64_t *spans,
                          size_t *n_ids) noexcept nogil:
        return lf_character_bpe_encode(<lf_character_workspace *>w, text, n, first, ids, spans, n_ids)
