# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The half of a door that does not depend on the kernel behind it: workspaces, checks, stretches one after another."""

from cpython.bytes cimport PyBytes_AS_STRING

import numpy as np

from lmfast._lf cimport LF_EINDEX, LF_EVALUE, LF_OK
from lmfast.text._idle cimport idle_free, idle_give, idle_new, idle_take
from lmfast.text._sentencepiece cimport LF_SP_MOST
from lmfast.text.engine import GrowsTooMuch

cdef object empty = np.empty
cdef object uint32 = np.dtype(np.uint32)
cdef object int64 = np.dtype(np.int64)


cdef class Engine:
    """The base of compiled tokenizers: see `lmfast.text.engine.Engine`."""

    def __cinit__(self, *args, **options):
        idle_new(&self.idle)

    def __dealloc__(self):
        cdef void *w = idle_take(&self.idle)
        while w != NULL:
            self.workspace_free(w)
            w = idle_take(&self.idle)
        idle_free(&self.idle)

    cdef size_t room(self, size_t n) noexcept nogil:
        return 0

    cdef lf_status workspace_new(self, void **w) noexcept nogil:
        return LF_EVALUE

    cdef void workspace_free(self, void *w) noexcept nogil:
        pass

    cdef lf_status encode(self, void *w, const uint8_t *text, size_t n, bint first, uint32_t *ids, int64_t *spans,
                          size_t *n_ids) noexcept nogil:
        return LF_EVALUE

    cdef object failure(self, lf_status status, Py_ssize_t i, size_t n):
        # the exception for text i, of n bytes
        if status == LF_EINDEX:
            return GrowsTooMuch(f"a text of {n} bytes might become more ids than there is room for")
        if status == LF_EVALUE:
            return ValueError(f"a text of {n} bytes is too long, or becomes so; want at most {LF_SP_MOST}")
        return MemoryError(f"no memory to encode {n} bytes")

    # A thread takes a workspace for the length of a call.

    cdef void *take(self) except NULL:
        cdef void *w = idle_take(&self.idle)
        if w != NULL:
            return w
        cdef lf_status status
        with nogil:
            status = self.workspace_new(&w)
        if status != LF_OK:
            raise MemoryError(f"no memory for a workspace of {self.cache_bytes} bytes")
        return w

    cdef void give(self, void *w) noexcept:
        if not idle_give(&self.idle, w):
            self.workspace_free(w)

    def bound(self, size_t n_bytes):
        """The most ids that a stretch of so many bytes has."""
        return self.room(n_bytes)

    def encode_spans(self, bytes data not None, const int64_t[:, ::1] spans not None, uint32_t[::1] ids, Py_ssize_t at,
                     int64_t[::1] counts not None, const uint8_t[::1] first=None):
        """Encodes stretches of `data` one after another; returns how many ids there are in all."""
        cdef Py_ssize_t n = spans.shape[0], i = 0
        cdef size_t longest = 0, room = 0, length = 0, n_ids = 0, total = 0
        cdef int64_t n_data = len(data)
        if spans.shape[1] != 2 or counts.shape[0] != n or (first is not None and first.shape[0] != n):
            raise ValueError(f"want spans[{n}, 2], counts[{n}] and first[{n}] or none, got spans[{n}, {spans.shape[1]}], "
                             f"counts[{counts.shape[0]}] and {'none' if first is None else f'first[{first.shape[0]}]'}")
        for i in range(n):
            if not 0 <= spans[i, 0] <= spans[i, 1] <= n_data:
                raise IndexError(f"spans[{i}] = [{spans[i, 0]}, {spans[i, 1]}) is outside [0, {n_data})")
            length = <size_t>(spans[i, 1] - spans[i, 0])
            longest = max(longest, length)
            room += self.room(length)
        cdef bint counting = ids is None
        if counting:
            ids = empty(self.room(longest), uint32)
            at = 0
        elif at < 0 or ids.shape[0] - at < <Py_ssize_t>room:
            raise ValueError(f"ids: want room for {room} from {at} on, got {ids.shape[0]}")
        cdef uint32_t *out = &ids[0] + at if ids.shape[0] else NULL
        cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef lf_status status = LF_OK
        cdef void *w = self.take()
        with nogil:
            for i in range(n):
                length = <size_t>(spans[i, 1] - spans[i, 0])
                status = self.encode(w, text + spans[i, 0], length, first is None or first[i],
                                     out if counting else out + total, NULL, &n_ids)
                if status != LF_OK:
                    break
                counts[i] = <int64_t>n_ids
                total += n_ids
        self.give(w)
        if status != LF_OK:
            raise self.failure(status, i, length)
        return total

    def encode_with_offsets(self, bytes data not None, bint first=True):
        """The ids of a text, uint32[n], and where in it each comes from, int64[n, 2] in bytes."""
        cdef size_t n = <size_t>len(data), n_ids = 0, room = self.room(n)
        cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(data)
        ids, spans = empty(room, uint32), empty((room, 2), int64)
        cdef uint32_t[::1] id_view = ids
        cdef int64_t[:, ::1] span_view = spans
        cdef lf_status status
        cdef void *w = self.take()
        with nogil:
            status = self.encode(w, text, n, first, &id_view[0], &span_view[0, 0], &n_ids)
        self.give(w)
        if status != LF_OK:
            raise self.failure(status, 0, n)
        ids.resize(n_ids, refcheck=False)  # what is given back is never touched again
        spans.resize((n_ids, 2), refcheck=False)
        return ids, spans
