# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The door to csrc/text/{normalize,rewrite}: normalizers over UTF-8 bytes, with the way back to the input."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc

import numpy as np

cdef extern from "text/unicode.h" nogil:
    unsigned lf_traits_of(uint32_t code_point)

FORMS = {"nfc": <int>LF_NFC, "nfd": <int>LF_NFD, "nfkc": <int>LF_NFKC, "nfkd": <int>LF_NFKD}
REWRITINGS = {
    "lowercase": <int>LF_LOWERCASE, "strip_accents": <int>LF_STRIP_ACCENTS, "strip_nonspacing": <int>LF_STRIP_NONSPACING,
    "clean": <int>LF_CLEAN, "space_ideographs": <int>LF_SPACE_IDEOGRAPHS, "nmt": <int>LF_NMT,
}


def normalize(str how not None, bytes text not None):
    """Text, UTF-8, in a normalization form or rewritten character by character: `how` is in FORMS or in REWRITINGS."""
    return run(how, text, False)[0]


def normalize_aligned(str how not None, bytes text not None):
    """The same, and int64[n] with the byte of the input that each byte of the output stands for, -1 for none."""
    return run(how, text, True)


cdef tuple run(str how, bytes text, bint aligned):
    cdef int form = FORMS.get(how, -1)
    if form < 0 and how not in REWRITINGS:
        raise ValueError(f"no normalizer {how!r}; there are {', '.join([*FORMS, *REWRITINGS])}")
    cdef int rewriting = REWRITINGS.get(how, 0)
    cdef size_t n = <size_t>len(text), n_out = 0
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(text)
    if form >= 0 and not aligned and lf_form_prefix(<lf_form>form, data, n) == n:
        return text, None
    cdef size_t bound = lf_form_bound(<lf_form>form, n) if form >= 0 else lf_rewrite_bound(n)
    cdef uint8_t *out = <uint8_t *>malloc(bound + 1)
    cdef int64_t *places = <int64_t *>malloc((bound + 1) * sizeof(int64_t)) if aligned else NULL
    cdef int64_t[::1] view
    try:
        if out == NULL or (aligned and places == NULL):
            raise MemoryError(f"no memory to normalize {n} bytes")
        with nogil:
            if form >= 0:
                n_out = lf_normalize(<lf_form>form, data, n, out, places)
            else:
                n_out = lf_rewrite(<lf_rewriting>rewriting, data, n, out, places)
        result = PyBytes_FromStringAndSize(<char *>out, <Py_ssize_t>n_out)
        if not aligned:
            return result, None
        if n_out == 0:
            return result, np.empty(0, np.int64)
        view = <int64_t[:n_out]>places
        return result, np.array(view)
    finally:
        free(out)
        free(places)


def segments(str form not None, bytes text not None):
    """Where the parts of UTF-8 bytes that take a normalization form on their own end, as a list of offsets."""
    cdef int number = FORMS[form]
    cdef size_t n = <size_t>len(text), at = 0
    ends = []
    while at < n:
        at = lf_form_next(<lf_form>number, <const uint8_t *>PyBytes_AS_STRING(text), n, at)
        ends.append(at)
    return ends


def strip(bytes text not None, bint left=True, bint right=True):
    """Where UTF-8 bytes begin and end without the white space at their ends: (start, stop)."""
    cdef size_t start = 0, stop = <size_t>len(text)
    lf_strip(<const uint8_t *>PyBytes_AS_STRING(text), &start, &stop, left, right)
    return start, stop


def traits(unsigned int code_point):
    """The trait bits of a code point; see csrc/text/unicode.h."""
    if code_point > 0x10FFFF:
        raise ValueError(f"code point {code_point} is outside [0, 1114111]")
    return lf_traits_of(code_point)
