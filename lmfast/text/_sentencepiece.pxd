"""sentencepiece's normalizer and models, as the doors see them that encode with them, convert them or train them."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

from lmfast._lf cimport lf_status

cdef extern from "text/charsmap.h" nogil:
    ctypedef struct lf_charsmap:
        pass
    lf_status lf_charsmap_new(lf_charsmap **map, const uint8_t *blob, size_t n, size_t *where)
    void lf_charsmap_free(lf_charsmap *map)

cdef extern from "text/double_array.h" nogil:
    ctypedef struct lf_double_array:
        pass

cdef extern from "text/sp_normalizer.h" nogil:
    ctypedef struct lf_sp_options:
        int add_dummy_prefix
        int remove_extra_whitespaces
        int escape_whitespaces
        int treat_whitespace_as_suffix
    ctypedef struct lf_sp_normalizer:
        pass
    ctypedef struct lf_sp_text:
        uint8_t *bytes
        size_t *origins
        size_t n
        int traced
    void lf_sp_normalizer_init(lf_sp_normalizer *z, const lf_charsmap *charsmap, const lf_double_array *symbols,
                               lf_sp_options options)

cdef extern from "text/unigram.h" nogil:
    ctypedef enum lf_unigram_rule:
        LF_RULE_SENTENCEPIECE
        LF_RULE_TOKENIZERS

cdef extern from "text/sentencepiece.h" nogil:
    uint32_t LF_SP_NO_ID
    size_t LF_SP_MOST
    ctypedef enum lf_sp_family:
        LF_SP_BPE
        LF_SP_UNIGRAM
    ctypedef struct lf_sp_parts:
        const uint8_t *blob
        const int64_t *offsets
        const double *scores
        const uint8_t *kinds
        uint32_t n_ids
        uint32_t unknown_id
        int byte_fallback
        lf_sp_family family
        lf_unigram_rule rule
        const uint8_t *charsmap
        size_t n_charsmap
        lf_sp_options options
