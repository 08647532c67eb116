"""Normalization forms and rewritings of single characters, as the doors see them that apply them or compile them."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t

cdef extern from "text/normalize.h" nogil:
    ctypedef enum lf_form:
        LF_NFC
        LF_NFD
        LF_NFKC
        LF_NFKD
    size_t lf_form_prefix(lf_form form, const uint8_t *text, size_t n)
    size_t lf_form_next(lf_form form, const uint8_t *text, size_t n, size_t at)
    size_t lf_form_bound(lf_form form, size_t n)
    size_t lf_normalize(lf_form form, const uint8_t *text, size_t n, uint8_t *out, int64_t *from_)

cdef extern from "text/rewrite.h" nogil:
    ctypedef enum lf_rewriting:
        LF_LOWERCASE
        LF_STRIP_ACCENTS
        LF_STRIP_NONSPACING
        LF_CLEAN
        LF_SPACE_IDEOGRAPHS
        LF_NMT
    size_t lf_rewrite_bound(size_t n)
    size_t lf_rewrite(lf_rewriting rewriting, const uint8_t *text, size_t n, uint8_t *out, int64_t *from_)
    void lf_strip(const uint8_t *text, size_t *start, size_t *stop, int left, int right)
