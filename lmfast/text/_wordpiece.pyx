# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The door to csrc/text/bert: text to ids with WordPiece or WordLevel."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

import numpy as np

from lmfast._lf cimport LF_EVALUE, LF_OK, lf_isa, lf_status
from lmfast.text cimport _engine
from lmfast.text import _text

cdef extern from "text/bert.h" nogil:
    ctypedef enum lf_word_rule:
        LF_N_WORD_RULES
    ctypedef struct lf_bert_options:
        int clean
        int space_ideographs
        int strip_accents
        int lowercase
        lf_word_rule rule
    ctypedef struct lf_bert:
        lf_bert_options options
    lf_status lf_bert_new(lf_bert **bert, const lf_wordpiece *model, lf_bert_options options)
    void lf_bert_free(lf_bert *bert)
    size_t lf_bert_bound(size_t n)
    lf_status lf_bert_trace(const lf_bert *bert, const uint8_t *text, size_t n, uint32_t *ids, int64_t *spans,
                            size_t *n_ids)
    ctypedef struct lf_bert_workspace:
        pass
    ctypedef struct lf_bert_ops:
        lf_isa isa
        lf_status (*workspace_new)(lf_bert_workspace **w, const lf_bert *bert, size_t cache_bytes) noexcept nogil
        void (*workspace_free)(lf_bert_workspace *w) noexcept nogil
        lf_status (*encode)(lf_bert_workspace *w, const uint8_t *text, size_t n, uint32_t *ids, size_t *n_ids) noexcept nogil
    const lf_bert_ops *lf_bert_ops_for(lf_isa isa)

RULES = ("bert", "classes", "spaces")
cdef uint32_t NO_ID = (1 << 28) - 1  # LF_UNIT_NONE


cdef class BertEngine(_engine.Engine):
    """A compiled tokenizer of the BERT family; an `lmfast.text.engine.Engine`.

    vocab_*      the tokens: bytes, int64[n + 1] offsets, uint32[n] ids
    whole        only whole words are tokens (WordLevel)
    prefix       what a token that goes on begins with
    unk_id       -1: a word without ids is an error
    rule         how words are cut, a name in RULES
    clean, space_ideographs, strip_accents, lowercase     the steps of BertNormalizer
    cache_bytes  of each workspace; there is one for each thread that encodes at the same time
    """

    cdef lf_wordpiece *model
    cdef lf_bert *bert
    cdef const lf_bert_ops *ops

    def __cinit__(self, bytes blob not None, const int64_t[::1] offsets not None, const uint32_t[::1] ids not None, *,
                  bint whole, bytes prefix not None, int64_t unk_id, size_t max_chars, str rule not None, bint clean,
                  bint space_ideographs, bint strip_accents, bint lowercase, size_t cache_bytes,
                  str isa not None):
        if isa not in _text.isas():
            raise ValueError(f"isa {isa!r} is not available here; available: {', '.join(_text.isas())}")
        cdef int number = _text.ISA_NAMES.index(isa)
        self.ops = lf_bert_ops_for(<lf_isa>number)
        self.cache_bytes = max(cache_bytes, <size_t>(1 << 16))
        if offsets.shape[0] != ids.shape[0] + 1:
            raise ValueError(f"offsets: want shape ({ids.shape[0] + 1},), got ({offsets.shape[0]},)")
        cdef uint32_t none = 0
        cdef const uint32_t *id_data = &ids[0] if ids.shape[0] else &none
        cdef int rule_number = RULES.index(rule)
        cdef uint32_t unk = NO_ID if unk_id < 0 else <uint32_t>unk_id
        cdef lf_bert_options options = lf_bert_options(clean, space_ideographs, strip_accents, lowercase,
                                                       <lf_word_rule>rule_number)
        cdef lf_status status = lf_wordpiece_new(
            &self.model, <const uint8_t *>PyBytes_AS_STRING(blob), &offsets[0], id_data, <size_t>ids.shape[0],
            <const uint8_t *>PyBytes_AS_STRING(prefix), <size_t>len(prefix), unk, max_chars, whole)
        if status == LF_OK:
            status = lf_bert_new(&self.bert, self.model, options)
        if status == LF_EVALUE:
            raise ValueError(f"{len(blob)} bytes of tokens are too many: fewer than {1 << 28} are allowed")
        if status != LF_OK:
            raise MemoryError("no memory for the model")

    def __dealloc__(self):
        lf_bert_free(self.bert)
        lf_wordpiece_free(self.model)

    cdef size_t room(self, size_t n) noexcept nogil:
        return lf_bert_bound(n)

    cdef lf_status workspace_new(self, void **w) noexcept nogil:
        return self.ops.workspace_new(<lf_bert_workspace **>w, self.bert, self.cache_bytes)

    cdef void workspace_free(self, void *w) noexcept nogil:
        self.ops.workspace_free(<lf_bert_workspace *>w)

    cdef lf_status encode(self, void *w, const uint8_t *text, size_t n, bint first, uint32_t *ids, int64_t *spans,
                          size_t *n_ids) noexcept nogil:
        return self.ops.encode(<lf_bert_workspace *>w, text, n, ids, n_ids)

    cdef object failure(self, lf_status status, Py_ssize_t i, size_t n):
        if status == LF_EVALUE:
            return ValueError(f"text {i} has a word that the model has no id for, and there is no unk_id")
        return MemoryError(f"no memory to encode {n} bytes")

    def encode_with_offsets(self, bytes data not None, bint first=True):
        """The ids of a text, and where each comes from: see `lmfast.text.engine.Engine`."""
        cdef size_t n = <size_t>len(data), n_ids = 0
        cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(data)
        ids, spans = np.empty(lf_bert_bound(n), np.uint32), np.empty((lf_bert_bound(n), 2), np.int64)
        cdef uint32_t[::1] id_view = ids
        cdef int64_t[:, ::1] span_view = spans
        cdef lf_status status
        with nogil:
            status = lf_bert_trace(self.bert, text, n, &id_view[0], &span_view[0, 0], &n_ids)
        if status == LF_EVALUE:
            raise ValueError(f"the model has no id for the word at byte {n_ids}, and there is no unk_id")
        if status != LF_OK:
            raise MemoryError(f"no memory to encode {n} bytes")
        ids.resize(n_ids, refcheck=False)  # what is given back is never touched again
        spans.resize((n_ids, 2), refcheck=False)
        return ids, spans
