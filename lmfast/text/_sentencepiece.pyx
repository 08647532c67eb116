# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The door to csrc/text/sentencepiece.h: sentencepiece's normalizer, BPE and Unigram, compiled."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

import numpy as np

from lmfast._lf cimport LF_EVALUE, LF_OK, lf_status
from lmfast.text cimport _engine

cdef extern from "text/sp_normalizer.h" nogil:
    uint32_t LF_UNIT_NONE
    lf_status lf_sp_normalize(const lf_sp_normalizer *z, const uint8_t *text, size_t n, lf_sp_text *out)
    void lf_sp_text_free(lf_sp_text *text)

cdef extern from "text/scored_bpe.h" nogil:
    ctypedef struct lf_scored_chance:
        uint64_t state
        double dropout

cdef extern from "text/sentencepiece.h" nogil:
    ctypedef struct lf_sp:
        lf_sp_parts parts
        lf_sp_normalizer normalizer
    ctypedef struct lf_sp_workspace:
        pass
    lf_status lf_sp_workspace_new(lf_sp_workspace **w, const lf_sp *model, size_t cache_bytes)
    void lf_sp_workspace_free(lf_sp_workspace *w)
    lf_status lf_sp_encode(lf_sp_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids, size_t *n_ids)
    lf_status lf_sp_encode_traced(lf_sp_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                                  int64_t *spans, size_t *n_ids)
    lf_status lf_sp_encode_dropout(lf_sp_workspace *w, const uint8_t *text, size_t n, lf_scored_chance *chance,
                                   uint32_t *ids, size_t *n_ids)
    lf_status lf_sp_new(lf_sp **model, const lf_sp_parts *parts, size_t *where)
    void lf_sp_free(lf_sp *model)
    size_t lf_sp_bound(const lf_sp *model, size_t n)

cdef extern from "text/sp_decode.h" nogil:
    ctypedef struct lf_sp_surface:
        int add_dummy_prefix
        int remove_extra_whitespaces
        const uint8_t *unknown
        size_t n_unknown
    lf_status lf_sp_decode_bound(const lf_sp *model, const lf_sp_surface *surface, const uint32_t *ids, size_t n,
                                 size_t *n_bytes, size_t *where)
    size_t lf_sp_decode(const lf_sp *model, const lf_sp_surface *surface, const uint32_t *ids, size_t n, uint8_t *out,
                        size_t room)

cdef extern from "text/lattice.h" nogil:
    ctypedef struct lf_lattice_node:
        uint32_t begin
        uint32_t length
        uint32_t id
        float score
    ctypedef struct lf_lattice:
        lf_lattice_node *nodes
        size_t n_nodes
    ctypedef struct lf_paths:
        uint32_t *nodes
        size_t *offsets
        double *scores
        size_t n_paths
    lf_status lf_lattice_new(lf_lattice *lattice, const lf_sp *model, const uint8_t *text, size_t n)
    void lf_lattice_free(lf_lattice *lattice)
    void lf_paths_free(lf_paths *paths)
    lf_status lf_lattice_best(const lf_lattice *lattice, size_t k, lf_paths *paths)
    double lf_lattice_sum(lf_lattice *lattice, double alpha)
    lf_status lf_lattice_sample(const lf_lattice *lattice, double alpha, uint64_t *state, lf_paths *paths)
    lf_status lf_lattice_sample_different(const lf_lattice *lattice, double alpha, size_t k, uint64_t *state,
                                          lf_paths *paths)
    double lf_lattice_log_probability(const lf_lattice *lattice, double alpha, const lf_paths *paths, size_t i)
    lf_status lf_lattice_entropy(const lf_lattice *lattice, double alpha, double *entropy)
    lf_status lf_lattice_marginals(const lf_lattice *lattice, double alpha, double *log_probabilities)
    size_t lf_lattice_ids(const lf_lattice *lattice, const lf_sp *model, const uint8_t *text, const lf_paths *paths,
                          size_t i, uint32_t *ids)

cdef object empty = np.empty
cdef object uint32 = np.dtype(np.uint32)
cdef object int64 = np.dtype(np.int64)


cdef class Normalizer:
    """sentencepiece's normalizer alone. Errors: ValueError for a charsmap that is damaged, with the byte offset."""
    cdef lf_charsmap *charsmap
    cdef lf_sp_normalizer normalizer

    def __init__(self, bytes charsmap not None, bint add_dummy_prefix, bint remove_extra_whitespaces,
                 bint escape_whitespaces, bint treat_whitespace_as_suffix):
        if self.charsmap != NULL:
            raise ValueError("the normalizer has been compiled already")
        cdef size_t where = 0
        cdef lf_status status = LF_OK
        if len(charsmap):
            status = lf_charsmap_new(&self.charsmap, <const uint8_t *>PyBytes_AS_STRING(charsmap), <size_t>len(charsmap),
                                     &where)
        if status == LF_EVALUE:
            raise ValueError(f"charsmap: byte {where} is wrong")
        if status != LF_OK:
            raise MemoryError("no memory for the charsmap")
        lf_sp_normalizer_init(&self.normalizer, self.charsmap, NULL,
                              lf_sp_options(add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces,
                                            treat_whitespace_as_suffix))

    def __dealloc__(self):
        lf_charsmap_free(self.charsmap)

    def normalize(self, bytes text not None):
        """The normalized text."""
        return normalized(&self.normalizer, text, False)[0]


cdef tuple normalized(const lf_sp_normalizer *z, bytes text, bint traced):
    # the normalized text and, if asked for, where each of its bytes comes from
    cdef lf_sp_text out
    memset(&out, 0, sizeof(out))
    out.traced = traced
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(text)
    cdef size_t n = <size_t>len(text)
    cdef lf_status status
    try:
        with nogil:
            status = lf_sp_normalize(z, data, n, &out)
        if status != LF_OK:
            raise MemoryError(f"no memory to normalize {n} bytes")
        origins = None
        if traced:
            origins = np.zeros(1, int64) if not out.n else np.asarray(<size_t[:out.n + 1]>out.origins).astype(int64)
        return PyBytes_FromStringAndSize(<const char *>out.bytes, <Py_ssize_t>out.n), origins
    finally:
        lf_sp_text_free(&out)


cdef class Engine(_engine.Engine):
    """A compiled model of sentencepiece's kind; see `lmfast.text.engine.Engine`.

    Arrays are indexed by id; an id that no piece has is of kind 0 and empty.

    blob, offsets   piece i is blob[offsets[i]:offsets[i + 1]]; int64[n + 1]
    scores          float64[n]
    kinds           uint8[n] of `Kind`
    unknown_id      what an unknown character becomes, or None
    family          "bpe" or "unigram"
    charsmap        the precompiled map of characters; empty: none
    options         add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, treat_whitespace_as_suffix
    surface         what decoding asks: (what an unknown piece becomes, add_dummy_prefix, remove_extra_whitespaces)
    cache_bytes     of each workspace; there is one for each thread that encodes at the same time

    Errors: ValueError for a piece given twice, a score that is no number, a damaged charsmap.
    """
    cdef lf_sp *model
    cdef lf_sp_surface surface
    cdef object keep

    def __init__(self, bytes blob not None, const int64_t[::1] offsets not None, const double[::1] scores not None,
                 const uint8_t[::1] kinds not None, unknown_id, bint byte_fallback, str family not None,
                 bytes charsmap not None, tuple options not None, tuple surface not None, size_t cache_bytes):
        if self.model != NULL:
            raise ValueError("the engine has been compiled already")
        cdef Py_ssize_t n = kinds.shape[0]
        if offsets.shape[0] != n + 1 or scores.shape[0] != n:
            raise ValueError(f"want offsets[{n + 1}] and scores[{n}] beside kinds[{n}], got {offsets.shape[0]} and "
                             f"{scores.shape[0]}")
        if offsets[0] != 0 or offsets[n] != len(blob) or np.any(np.diff(offsets) < 0):
            raise ValueError(f"offsets: want them to rise from 0 to {len(blob)}")
        self.cache_bytes = cache_bytes
        unknown, add_dummy_prefix, remove_extra_whitespaces = surface
        self.keep = (blob, np.asarray(offsets), np.asarray(scores), np.asarray(kinds), unknown)
        self.surface = lf_sp_surface(add_dummy_prefix, remove_extra_whitespaces,
                                     <const uint8_t *>PyBytes_AS_STRING(unknown), <size_t>len(unknown))
        cdef lf_sp_parts parts
        parts.blob = <const uint8_t *>PyBytes_AS_STRING(blob)
        parts.offsets = &offsets[0]
        parts.scores = &scores[0] if n else NULL
        parts.kinds = &kinds[0] if n else NULL
        parts.n_ids = <uint32_t>n
        parts.unknown_id = LF_SP_NO_ID if unknown_id is None else unknown_id
        if unknown_id is not None and not 0 <= unknown_id < n:
            raise ValueError(f"unknown_id = {unknown_id} is outside [0, {n})")
        parts.byte_fallback = byte_fallback
        parts.family = {"bpe": LF_SP_BPE, "unigram": LF_SP_UNIGRAM}[family]
        parts.rule = LF_RULE_SENTENCEPIECE
        parts.charsmap = <const uint8_t *>PyBytes_AS_STRING(charsmap)
        parts.n_charsmap = <size_t>len(charsmap)
        parts.options = lf_sp_options(options[0], options[1], options[2], options[3])
        cdef size_t where = 0
        cdef lf_status status
        with nogil:
            status = lf_sp_new(&self.model, &parts, &where)
        if status == LF_EVALUE:
            raise ValueError(self.complaint(where, n, blob, offsets))
        if status != LF_OK:
            raise MemoryError("no memory for the model")

    def __dealloc__(self):
        lf_sp_free(self.model)

    cdef str complaint(self, size_t where, size_t n, bytes blob, const int64_t[::1] offsets):
        if where == LF_SP_NO_ID:
            return "unknown characters have no id: the model has neither an unknown piece nor pieces of all bytes"
        if where == LF_SP_NO_ID - 1:
            return f"{n} pieces of {len(blob)} bytes are too many"
        if where >= n:
            return f"charsmap: byte {where - n} is wrong"
        return f"piece {where}, {blob[offsets[where]:offsets[where + 1]]!r}, is given twice or not what its kind asks"

    cdef size_t room(self, size_t n) noexcept nogil:
        return lf_sp_bound(self.model, n)

    cdef lf_status workspace_new(self, void **w) noexcept nogil:
        return lf_sp_workspace_new(<lf_sp_workspace **>w, self.model, self.cache_bytes)

    cdef void workspace_free(self, void *w) noexcept nogil:
        lf_sp_workspace_free(<lf_sp_workspace *>w)

    cdef lf_status encode(self, void *w, const uint8_t *text, size_t n, bint first, uint32_t *ids, int64_t *spans,
                          size_t *n_ids) noexcept nogil:
        # sentencepiece begins anew behind every added token
        if spans == NULL:
            return lf_sp_encode(<lf_sp_workspace *>w, text, n, 1, ids, n_ids)
        return lf_sp_encode_traced(<lf_sp_workspace *>w, text, n, 1, ids, spans, n_ids)

    cdef object failure(self, lf_status status, Py_ssize_t i, size_t n):
        if status == LF_EVALUE and n > LF_SP_MOST:
            return ValueError(f"a text of {n} bytes is too long; want at most {LF_SP_MOST}")
        if status == LF_EVALUE:
            return ValueError("the text has a character that the model has no id for")
        return MemoryError(f"no memory to encode {n} bytes")

    def encode_with_dropout(self, bytes data not None, double dropout, uint64_t seed):
        """The ids of a text by BPE where each merge is passed over with a probability; the same for the same seed."""
        cdef size_t n = <size_t>len(data), n_ids = 0
        cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(data)
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout = {dropout}; want a probability in [0, 1]")
        ids = empty(lf_sp_bound(self.model, n), uint32)
        cdef uint32_t[::1] id_view = ids
        cdef lf_scored_chance chance = lf_scored_chance(seed, dropout)
        cdef lf_status status
        cdef void *w = self.take()
        with nogil:
            status = lf_sp_encode_dropout(<lf_sp_workspace *>w, text, n, &chance, &id_view[0], &n_ids)
        self.give(w)
        if status != LF_OK:
            raise self.failure(status, 0, n)
        return ids[:n_ids].copy()

    def normalize(self, bytes text not None):
        """The normalized text, and where in the text each of its bytes and its end come from: int64[n + 1]."""
        return normalized(&self.model.normalizer, text, True)

    def lattice(self, bytes text not None):
        """All segmentations of a text. Errors: ValueError for a model that is not Unigram."""
        if self.model.parts.family != LF_SP_UNIGRAM:
            raise ValueError("only Unigram models have a lattice")
        cdef Lattice lattice = Lattice.__new__(Lattice)
        lattice.engine = self
        lattice.text = normalized(&self.model.normalizer, text, False)[0]
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(lattice.text)
        cdef size_t n = <size_t>len(lattice.text)
        cdef lf_status status
        with nogil:
            status = lf_lattice_new(&lattice.lattice, self.model, data, n)
        if status == LF_EVALUE:
            raise ValueError(f"a text of {n} bytes is too long for a lattice; want at most {1 << 30}")
        if status != LF_OK:
            raise MemoryError(f"no memory for the lattice of {n} bytes")
        return lattice

    def decode(self, const uint32_t[::1] ids not None):
        """The UTF-8 of the text of ids. Errors: IndexError for an id that no piece has."""
        cdef size_t n = <size_t>ids.shape[0], room = 0, where = 0, n_bytes = 0
        if n == 0:
            return b""
        cdef lf_status status = lf_sp_decode_bound(self.model, &self.surface, &ids[0], n, &room, &where)
        if status != LF_OK:
            raise IndexError(f"ids[{where}] = {ids[where]} is no piece; there are {len(self.keep[3])}")
        cdef uint8_t[::1] out = empty(room + 1, np.uint8)
        with nogil:
            n_bytes = lf_sp_decode(self.model, &self.surface, &ids[0], n, &out[0], room)
        return PyBytes_FromStringAndSize(<const char *>&out[0], <Py_ssize_t>n_bytes)


cdef class Lattice:
    """All segmentations of a text by a Unigram model; see csrc/text/lattice.h. `Engine.lattice` makes it.

    A segmentation's score is the sum of the scores of its pieces; its probability with `alpha` is exp(alpha score)
    divided by the sum of that over all segmentations. One thread at a time.
    """
    cdef Engine engine
    cdef readonly bytes text
    """The normalized text."""
    cdef lf_lattice lattice

    def __init__(self):
        raise TypeError("Engine.lattice makes lattices")

    def __dealloc__(self):
        lf_lattice_free(&self.lattice)

    cdef list give(self, lf_paths *paths):
        # a pair (ids, score) for each path
        cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(self.text)
        room = empty(len(self.text) + 1, uint32)
        cdef uint32_t[::1] ids = room
        cdef size_t i, n
        result = []
        for i in range(paths.n_paths):
            n = lf_lattice_ids(&self.lattice, self.engine.model, text, paths, i, &ids[0])
            if n == <size_t>-1:
                raise ValueError("the text has a character that the model has no id for")
            result.append((room[:n].copy(), paths.scores[i]))
        return result

    def best(self, size_t k):
        """The k best segmentations as pairs (ids, score), the best first; those of sentencepiece 0.2.3."""
        cdef lf_paths paths
        memset(&paths, 0, sizeof(paths))  # the fields that are not declared here too
        cdef lf_status status
        try:
            with nogil:
                status = lf_lattice_best(&self.lattice, k, &paths)
            if status != LF_OK:
                raise MemoryError(f"no memory for the {k} best segmentations")
            return self.give(&paths)
        finally:
            lf_paths_free(&paths)

    def sample(self, double alpha, size_t n, uint64_t seed):
        """n segmentations drawn with their probabilities, as pairs (ids, log-probability); the same for the same seed."""
        cdef lf_paths paths
        memset(&paths, 0, sizeof(paths))  # the fields that are not declared here too
        cdef lf_status status = LF_OK
        cdef size_t i
        try:
            with nogil:
                lf_lattice_sum(&self.lattice, alpha)
                for i in range(n):
                    status = lf_lattice_sample(&self.lattice, alpha, &seed, &paths)
                    if status != LF_OK:
                        break
            if status != LF_OK:
                raise MemoryError(f"no memory for {n} segmentations")
            return self.give(&paths)
        finally:
            lf_paths_free(&paths)

    def sample_different(self, double alpha, size_t n, uint64_t seed):
        """n different segmentations, drawn without replacement, as triples (ids, log-probability, perturbed
        log-probability), by falling perturbed ones. There are fewer where the text has fewer."""
        cdef lf_paths paths
        memset(&paths, 0, sizeof(paths))  # the fields that are not declared here too
        cdef lf_status status
        cdef size_t i
        try:
            with nogil:
                lf_lattice_sum(&self.lattice, alpha)
                status = lf_lattice_sample_different(&self.lattice, alpha, n, &seed, &paths)
            if status != LF_OK:
                raise MemoryError(f"no memory for {n} segmentations")
            return [(ids, lf_lattice_log_probability(&self.lattice, alpha, &paths, i), perturbed)
                    for i, (ids, perturbed) in enumerate(self.give(&paths))]
        finally:
            lf_paths_free(&paths)

    def entropy(self, double alpha):
        """The entropy of the segmentations in nats."""
        cdef double entropy = 0
        lf_lattice_sum(&self.lattice, alpha)
        if lf_lattice_entropy(&self.lattice, alpha, &entropy) != LF_OK:
            raise MemoryError("no memory for the entropy")
        return entropy

    def log_partition(self, double alpha):
        """The log of the sum of exp(alpha score) over all segmentations."""
        return lf_lattice_sum(&self.lattice, alpha)

    def marginals(self, double alpha):
        """All pieces in the lattice: int64[n, 2] where each lies in the normalized text, int64[n] its id (-1: an unknown
        character), float64[n] its score, float64[n] the log of the probability that a segmentation has it."""
        cdef size_t n = self.lattice.n_nodes, i
        spans, ids, scores = empty((n, 2), int64), empty(n, int64), empty(n)
        cdef double[::1] log_probabilities = empty(n + 1)
        lf_lattice_sum(&self.lattice, alpha)
        if lf_lattice_marginals(&self.lattice, alpha, &log_probabilities[0]) != LF_OK:
            raise MemoryError("no memory for the probabilities")
        cdef int64_t[:, ::1] span_view = spans
        cdef int64_t[::1] id_view = ids
        cdef double[::1] score_view = scores
        for i in range(n):
            span_view[i, 0] = self.lattice.nodes[i].begin
            span_view[i, 1] = self.lattice.nodes[i].begin + <int64_t>self.lattice.nodes[i].length
            id_view[i] = -1 if self.lattice.nodes[i].id == LF_UNIT_NONE else <int64_t>self.lattice.nodes[i].id
            score_view[i] = self.lattice.nodes[i].score
        return spans, ids, scores, np.asarray(log_probabilities)[:n].copy()
