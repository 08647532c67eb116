"""csrc/text/split.h, as the doors see it that split text: into pieces to encode, or into words to count."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

cdef extern from "text/unicode.h" nogil:
    ctypedef struct lf_unicode:
        pass
    const lf_unicode *lf_unicode_for(int major)

cdef extern from "text/split.h" nogil:
    ctypedef enum lf_split:
        LF_SPLIT_NONE
        LF_SPLIT_GPT2
        LF_SPLIT_CL100K
        LF_SPLIT_LLAMA3
        LF_SPLIT_QWEN2
        LF_SPLIT_O200K
    size_t lf_split_next(lf_split split, const lf_unicode *unicode, const uint8_t *text, size_t n, size_t at)
