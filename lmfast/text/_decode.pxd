"""csrc/text/decode.h, as its doors see it."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

from lmfast._lf cimport lf_status

cdef extern from "text/decode.h" nogil:
    ctypedef struct lf_decoder:
        uint8_t (*slots)[16]
        uint32_t *lengths
        size_t n_ids
    lf_status lf_decoder_new(lf_decoder **decoder, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                             size_t n_tokens, size_t n_ids)
    void lf_decoder_free(lf_decoder *decoder)
    lf_status lf_decode_size(const lf_decoder *decoder, const uint32_t *ids, size_t n, size_t *n_bytes, size_t *where)
    size_t lf_decode(const lf_decoder *decoder, const uint32_t *ids, size_t n, uint8_t *out, size_t n_bytes)
