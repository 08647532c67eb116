"""csrc/text/wordpiece.h, as the doors see it whose words it encodes."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

from lmfast._lf cimport lf_status

cdef extern from "text/wordpiece.h" nogil:
    ctypedef struct lf_wordpiece:
        pass
    lf_status lf_wordpiece_new(lf_wordpiece **model, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                               size_t n_tokens, const uint8_t *prefix, size_t n_prefix, uint32_t unk_id, size_t max_chars,
                               int whole)
    void lf_wordpiece_free(lf_wordpiece *model)
