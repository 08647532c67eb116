/* pairs.h - which two symbols join, and to what: a hash table behind a filter.
 *
 *     a slot:  left (21 bits) | right (21) | symbol + 1 (22); 0: free. A pair stands in the slot of its hash or behind it
 *     filter:  a bit by hash for each pair. Most pairs that are asked about join to nothing, and the filter, small enough for
 *              the second-level cache, says so before the table is touched
 *
 * Symbols are numbers below 2^21. Memory: 16 to 32 bytes a pair and 128 KB. */
#ifndef LF_TEXT_PAIRS_H
#define LF_TEXT_PAIRS_H

#include "lf.h"
#include "text/pages.h"

#define LF_NO_SYMBOL 0xFFFFFFFFu
#define LF_PAIR_FILTER_BITS 20

typedef struct {
    uint64_t *slots; /* 1 << bits */
    uint8_t *filter;
    unsigned bits;
} lf_pairs;

/* A table for at most n pairs, none yet; 0 if there is no memory. */
static inline int lf_pairs_new(lf_pairs *pairs, size_t n) {
    pairs->bits = 4;
    while (((size_t)1 << pairs->bits) < 2 * n) pairs->bits++;
    pairs->slots = lf_pages_new(((size_t)1 << pairs->bits) * sizeof *pairs->slots);
    pairs->filter = calloc(1, (size_t)1 << (LF_PAIR_FILTER_BITS - 3));
    return pairs->slots && pairs->filter;
}

static inline void lf_pairs_free(lf_pairs *pairs) {
    lf_pages_free(pairs->slots, ((size_t)1 << pairs->bits) * sizeof *pairs->slots);
    free(pairs->filter);
}

static inline uint64_t lf_pair_key(uint32_t left, uint32_t right) { return (uint64_t)left << 21 | right; }
static inline uint64_t lf_pair_hash(uint64_t key) { return key * 0x9E3779B97F4A7C15u; }
static inline size_t lf_pair_home(const lf_pairs *pairs, uint64_t hash) { return (size_t)(hash >> (64 - pairs->bits)); }
static inline size_t lf_pair_after(const lf_pairs *pairs, size_t at) {
    return (at + 1) & (((size_t)1 << pairs->bits) - 1);
}
static inline unsigned lf_pair_may_join(const lf_pairs *pairs, uint64_t hash) {
    const size_t bit = (size_t)(hash >> (64 - LF_PAIR_FILTER_BITS));
    return pairs->filter[bit / 8] >> bit % 8 & 1;
}

/* Puts in a pair that is not there. */
static inline void lf_pairs_put(lf_pairs *pairs, uint32_t left, uint32_t right, uint32_t symbol) {
    const uint64_t key = lf_pair_key(left, right), hash = lf_pair_hash(key);
    const size_t bit = (size_t)(hash >> (64 - LF_PAIR_FILTER_BITS));
    size_t at = lf_pair_home(pairs, hash);
    pairs->filter[bit / 8] |= (uint8_t)(1u << bit % 8);
    while (pairs->slots[at]) at = lf_pair_after(pairs, at);
    pairs->slots[at] = key << 22 | (symbol + 1);
}

/* Fetches what lf_pairs_find will read. */
static inline void lf_pairs_prefetch(const lf_pairs *pairs, uint32_t left, uint32_t right) {
    const uint64_t hash = lf_pair_hash(lf_pair_key(left, right));
    if (lf_pair_may_join(pairs, hash)) __builtin_prefetch(&pairs->slots[lf_pair_home(pairs, hash)]);
}

/* What the pair of a key joins to, from its home on; LF_NO_SYMBOL if it is not there. No branch on which of the two it is: a
 * free slot is one more than LF_NO_SYMBOL. */
static inline uint32_t lf_pairs_probe(const lf_pairs *pairs, uint64_t key, size_t home) {
    uint64_t slot = pairs->slots[home];
    for (size_t at = home; LF_UNLIKELY((slot != 0) & (slot >> 22 != key)); slot = pairs->slots[at])
        at = lf_pair_after(pairs, at);
    return (uint32_t)(slot & 0x3FFFFF) - 1;
}

/* What two symbols join to, LF_NO_SYMBOL where they do not. */
static inline uint32_t lf_pairs_find(const lf_pairs *pairs, uint32_t left, uint32_t right) {
    const uint64_t key = lf_pair_key(left, right), hash = lf_pair_hash(key);
    return lf_pair_may_join(pairs, hash) ? lf_pairs_probe(pairs, key, lf_pair_home(pairs, hash)) : LF_NO_SYMBOL;
}

#endif
