# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The door to csrc/text/token_texts.h and decode.h: texts of tokens, joined."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

import numpy as np

from lmfast._lf cimport LF_OK, lf_status
from lmfast.text._decode cimport lf_decode, lf_decode_size, lf_decoder, lf_decoder_free, lf_decoder_new

cdef extern from "text/token_texts.h" nogil:
    enum:
        LF_TOKEN_NONE
        LF_TOKEN_TEXT
        LF_TOKEN_EMPTY
        LF_TOKEN_BYTE
    lf_status lf_token_texts(const uint16_t *kinds, size_t n_ids, const uint32_t *ids, size_t n, uint32_t *out,
                             size_t *n_out, size_t *where)

NONE, TEXT, EMPTY, BYTE = LF_TOKEN_NONE, LF_TOKEN_TEXT, LF_TOKEN_EMPTY, LF_TOKEN_BYTE


cdef class TokenTexts:
    """The texts of tokens, by id.

    texts  the bytes of each
    kinds  uint16[n] NONE: no token has the id, TEXT, EMPTY: it has no text, or BYTE plus the byte that its text is
    """
    cdef lf_decoder *decoder
    cdef const uint16_t[::1] kinds
    cdef object keep

    def __cinit__(self, list texts not None, const uint16_t[::1] kinds not None):
        if kinds.shape[0] != len(texts):
            raise ValueError(f"kinds: want shape ({len(texts)},), got ({kinds.shape[0]},)")
        kept = [*texts, "\ufffd".encode()]
        cdef bytes blob = b"".join(kept)
        cdef const int64_t[::1] offsets = np.cumsum([0, *map(len, kept)]).astype(np.int64)
        cdef const uint32_t[::1] ids = np.arange(len(kept), dtype=np.uint32)
        self.keep, self.kinds = blob, kinds
        if lf_decoder_new(&self.decoder, <const uint8_t *>PyBytes_AS_STRING(blob), &offsets[0], &ids[0],
                          <size_t>ids.shape[0], <size_t>ids.shape[0]) != LF_OK:
            raise MemoryError("no memory for the decoder")

    def __dealloc__(self):
        lf_decoder_free(self.decoder)

    def join(self, const uint32_t[::1] ids not None):
        """The bytes of the texts of ids, each run of bytes that is not UTF-8 as U+FFFD. Errors: IndexError for an id that no
        token has.
        """
        cdef size_t n = <size_t>ids.shape[0], n_texts = 0, n_bytes = 0, where = 0, written = 0
        if n == 0:
            return b""
        cdef uint32_t[::1] texts = np.empty(ids.shape[0], np.uint32)
        cdef const uint16_t *kinds = &self.kinds[0] if self.kinds.shape[0] else NULL
        cdef lf_status status
        with nogil:
            status = lf_token_texts(kinds, <size_t>self.kinds.shape[0], &ids[0], n, &texts[0], &n_texts, &where)
            if status == LF_OK:
                status = lf_decode_size(self.decoder, &texts[0], n_texts, &n_bytes, &where)
        if status != LF_OK:
            raise IndexError(f"ids[{where}] = {ids[where]} is no token; ids are in [0, {self.kinds.shape[0]})")
        result = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n_bytes)
        cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(result)
        with nogil:
            lf_decode(self.decoder, &texts[0], n_texts, out, n_bytes)
        return result
