"""Workspaces that no call uses: a stack, so that the one given back last, whose memory is warmest, is taken first."""

from cpython.pythread cimport (
    WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock,
    PyThread_type_lock,
)
from libc.stdlib cimport free, realloc

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define LOCK(lock) PyThread_acquire_lock(lock, WAIT_LOCK)
    #define UNLOCK(lock) PyThread_release_lock(lock)
    #else
    #define LOCK(lock) (void)(lock)
    #define UNLOCK(lock) (void)(lock)
    #endif
    """
    void LOCK(PyThread_type_lock lock)
    void UNLOCK(PyThread_type_lock lock)

cdef struct idle_stack:
    void **items
    Py_ssize_t n, room
    PyThread_type_lock lock  # the GIL serves where there is one


cdef inline int idle_new(idle_stack *idle) except -1:
    # an extension type is zeroed before its __cinit__
    idle.lock = PyThread_allocate_lock()
    if idle.lock == NULL:
        raise MemoryError("no memory for a lock")
    return 0


cdef inline void idle_free(idle_stack *idle) noexcept:
    # what lies on it must have been taken
    free(idle.items)
    if idle.lock != NULL:
        PyThread_free_lock(idle.lock)


cdef inline void *idle_take(idle_stack *idle) noexcept:
    # NULL: there is none
    cdef void *item = NULL
    LOCK(idle.lock)
    if idle.n:
        idle.n -= 1
        item = idle.items[idle.n]
    UNLOCK(idle.lock)
    return item


cdef inline bint idle_give(idle_stack *idle, void *item) noexcept:
    # false: there was no memory, and the item is still the caller's
    cdef void **more
    cdef bint given = True
    LOCK(idle.lock)
    if idle.n == idle.room:
        more = <void **>realloc(idle.items, <size_t>(idle.room + 8) * sizeof(void *))
        given = more != NULL
        if given:
            idle.items = more
            idle.room += 8
    if given:
        idle.items[idle.n] = item
        idle.n += 1
    UNLOCK(idle.lock)
    return given
