/* radix.h - sorting pairs of numbers by the first of them, stably: 11 bits a pass from the lowest, only as many passes as the
 * largest key needs. Memory: the caller's spare room of the same size. */
#ifndef LF_TEXT_RADIX_H
#define LF_TEXT_RADIX_H

#include "lf.h"

typedef struct {
    uint64_t key, value;
} lf_keyed;

/* Sorts n items whose keys are at most `most` and returns where they are now: in `items` or in `spare`. */
static inline lf_keyed *lf_radix_sort(lf_keyed *items, lf_keyed *spare, size_t n, uint64_t most) {
    for (unsigned shift = 0; shift < 64 && most >> shift; shift += 11) {
        size_t starts[2048] = {0}, total = 0;
        for (size_t i = 0; i < n; i++) starts[items[i].key >> shift & 2047]++;
        for (size_t k = 0; k < 2048; k++) {
            const size_t here = starts[k];
            starts[k] = total;
            total += here;
        }
        for (size_t i = 0; i < n; i++) spare[starts[items[i].key >> shift & 2047]++] = items[i];
        lf_keyed *swap = items;
        items = spare;
        spare = swap;
    }
    return items;
}

/* The same for few of them, in place. */
static inline void lf_insertion_sort(lf_keyed *items, size_t n) {
    for (size_t i = 1; i < n; i++) {
        const lf_keyed item = items[i];
        size_t k = i;
        for (; k && items[k - 1].key > item.key; k--) items[k] = items[k - 1];
        items[k] = item;
    }
}

#endif
