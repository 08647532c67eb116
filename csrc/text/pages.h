/* pages.h - zeroed memory for tables, on lines of 64 bytes: in large pages where there is much of it and the system has
 * them, advised before the memory is touched, so that it costs few faults and few page walks. */
#ifndef LF_TEXT_PAGES_H
#define LF_TEXT_PAGES_H

#include <stdlib.h>
#include <string.h>

#include "lf.h"
#if defined(__linux__)
#include <sys/mman.h>
#endif

enum {
    LF_PAGES_LEAST = 1 << 21,
    LF_MADV_COLLAPSE = 25, /* Linux 6.1, which C libraries before 2.37 do not name; older systems refuse it */
};

static inline void *lf_pages_new(size_t n) {
#if defined(__linux__)
    if (n >= LF_PAGES_LEAST) {
        void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return NULL;
        madvise(p, n, MADV_HUGEPAGE);
        return p;
    }
#endif
    void *p = aligned_alloc(64, (n + 63) / 64 * 64);
    return p ? memset(p, 0, n) : NULL;
}

/* Asks for large pages inside memory that somebody else allocated, where there is much and nobody has touched it yet. But
 * malloc has: what it wrote before p made the first page a small one, and the 511 after it would follow, each by a fault of
 * its own. A large page takes their place, where so much is to come that it does not matter that each processor is asked to
 * put its lists of pages in order first. */
static inline void lf_pages_advise(void *p, size_t n) {
#if defined(__linux__)
    const uintptr_t small = 4096, start = (uintptr_t)p & ~(small - 1), stop = ((uintptr_t)p + n) & ~(small - 1);
    if (n < 2 * LF_PAGES_LEAST) return;
    madvise((void *)start, stop - start, MADV_HUGEPAGE);
    if (n >= 16 * LF_PAGES_LEAST && start % LF_PAGES_LEAST == 0)
        madvise((void *)start, LF_PAGES_LEAST, LF_MADV_COLLAPSE);
#else
    (void)p, (void)n;
#endif
}

/* Has the pages inside some memory made at once, whatever they hold; where the system cannot do that, they are made when they
 * are touched. */
static inline void lf_pages_populate(void *p, size_t n) {
#if defined(__linux__) && defined(MADV_POPULATE_WRITE)
    const uintptr_t small = 4096, start = ((uintptr_t)p + small - 1) & ~(small - 1),
                    stop = ((uintptr_t)p + n) & ~(small - 1);
    if (start < stop) madvise((void *)start, stop - start, MADV_POPULATE_WRITE);
#else
    (void)p, (void)n;
#endif
}

/* Grows a buffer of malloc to at least n bytes; its contents are lost. NULL, *have = 0 and *status = LF_ENOMEM if there is
 * no memory. */
static inline void *lf_grown(void *buffer, size_t *have, size_t n, lf_status *status) {
    if (n <= *have) return buffer;
    free(buffer);
    n += n / 4;
    buffer = malloc(n);
    *have = buffer ? n : 0;
    if (!buffer) *status = LF_ENOMEM;
    return buffer;
}

/* Grows a buffer of malloc, given by the address of the pointer to it, to at least n bytes, with its contents. 0 if there is no
 * memory: then it is as it was. */
static inline int lf_grow(void *pointer, size_t *have, size_t n) {
    if (LF_LIKELY(n <= *have)) return 1;
    void *buffer;
    memcpy(&buffer, pointer, sizeof buffer);
    buffer = realloc(buffer, n + n / 2 + 1024);
    if (!buffer) return 0;
    memcpy(pointer, &buffer, sizeof buffer);
    *have = n + n / 2 + 1024;
    return 1;
}

/* Takes back n bytes that lf_pages_new(n) gave. */
static inline void lf_pages_free(void *p, size_t n) {
    if (!p) return;
#if defined(__linux__)
    if (n >= LF_PAGES_LEAST) {
        munmap(p, n);
        return;
    }
#else
    (void)n;
#endif
    free(p);
}

#endif
