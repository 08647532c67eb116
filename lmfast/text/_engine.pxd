"""What the doors of all engines share; see _engine.pyx."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

from lmfast._lf cimport lf_status
from lmfast.text._idle cimport idle_stack

cdef class Engine:
    cdef size_t cache_bytes
    cdef idle_stack idle

    # What an engine says of its kernel. `spans` is NULL where nobody asks for places.
    cdef size_t room(self, size_t n) noexcept nogil
    cdef lf_status workspace_new(self, void **w) noexcept nogil
    cdef void workspace_free(self, void *w) noexcept nogil
    cdef lf_status encode(self, void *w, const uint8_t *text, size_t n, bint first, uint32_t *ids, int64_t *spans,
                          size_t *n_ids) noexcept nogil
    cdef object failure(self, lf_status status, Py_ssize_t i, size_t n)

    cdef void *take(self) except NULL
    cdef void give(self, void *w) noexcept
