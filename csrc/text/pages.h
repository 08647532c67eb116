/* pages.h - zeroed memory for large tables: in large pages where the system has them, advised before the memory is touched, so
 * that it costs few faults and few page walks. What is small comes from calloc. */
#ifndef LF_TEXT_PAGES_H
#define LF_TEXT_PAGES_H

#include <stdlib.h>

#include "lf.h"
#if defined(__linux__)
#include <sys/mman.h>
#endif

enum { LF_PAGES_LEAST = 1 << 21 };

static inline void *lf_pages_new(size_t n) {
#if defined(__linux__)
    if (n >= LF_PAGES_LEAST) {
        void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return NULL;
        madvise(p, n, MADV_HUGEPAGE);
        return p;
    }
#endif
    return calloc(1, n);
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
