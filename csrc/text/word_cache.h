/* word_cache.h - words and the ids they are known to have: two tables of fixed size.
 *
 *     a line of the first table, 64 bytes, for two words of up to 15 bytes and 3 ids
 *     | bytes of word 0 ......... length | bytes of word 1 ......... length | id id id n+note | id id id n+note |
 *     0                                 16                                 32                48                64
 *
 *     the second table, for all else up to WORD_MOST bytes: records in a ring, the oldest overwritten first, found
 *     through slots by hash
 *     a slot:   place in the ring, counted from the beginning of all (40 bits) | hash (24)
 *     a record: bytes of the word (4), number of ids (4), note (4), 0 (4), the word, padding to 4, the ids
 *
 * A note is 28 bits that the owner wants back. Only looking at a whole word decides, so what is found is what was put in.
 * A word of which both lines are full must come twice before it takes another's place. Memory: what words_new takes. */
#ifndef LF_TEXT_WORD_CACHE_H
#define LF_TEXT_WORD_CACHE_H

#include <stdlib.h>
#include <string.h>

#include "lf.h"
#include "text/pages.h"

enum {
    WORD_SHORT = 15, /* bytes of a word in the first table */
    WORD_IDS = 3,    /* ids of a word in the first table */
    WORD_MOST = 128, /* bytes of a word, and ids of a word, in the second: longer ones hardly come twice */
    WORD_NOTE = (1 << 28) - 1,
};

typedef uint64_t word_key __attribute__((vector_size(16)));
typedef uint32_t word_ids __attribute__((vector_size(16)));

typedef struct {
    word_key keys[2];
    word_ids ids[2];
} __attribute__((aligned(64))) word_line;

typedef struct {
    word_line *lines;
    uint64_t *slots;
    uint8_t *ring;
    size_t line_mask, slot_mask, ring_mask; /* one less than how many there are: powers of two */
    uint64_t ring_head;                     /* where the next record goes, counted from the beginning of all */
    uint32_t turn;                          /* which of two places is taken next */
    uint32_t n_asked;                       /* bits set in asked */
    uint32_t pad;                           /* what stands in the place of ids that a word does not have */
    uint8_t asked[1 << 13];                 /* a bit by hash: a word found no place */
} word_cache;

/* What is known of a word: ids (which may be none) and the note. ids NULL: nothing. */
typedef struct {
    const uint32_t *ids;
    uint32_t n_ids, note;
} word_found;

/* Row n keeps the first n bytes of a key. */
#define WORD_UPTO(n)                                                                                                   \
    {n > 0 ? 255 : 0,  n > 1 ? 255 : 0,  n > 2 ? 255 : 0,  n > 3 ? 255 : 0,                                            \
     n > 4 ? 255 : 0,  n > 5 ? 255 : 0,  n > 6 ? 255 : 0,  n > 7 ? 255 : 0,                                            \
     n > 8 ? 255 : 0,  n > 9 ? 255 : 0,  n > 10 ? 255 : 0, n > 11 ? 255 : 0,                                           \
     n > 12 ? 255 : 0, n > 13 ? 255 : 0, n > 14 ? 255 : 0, 0}
static const uint8_t WORD_KEPT[16][16] __attribute__((aligned(16))) = {
    WORD_UPTO(0),  WORD_UPTO(1),  WORD_UPTO(2),  WORD_UPTO(3), WORD_UPTO(4),  WORD_UPTO(5),
    WORD_UPTO(6),  WORD_UPTO(7),  WORD_UPTO(8),  WORD_UPTO(9), WORD_UPTO(10), WORD_UPTO(11),
    WORD_UPTO(12), WORD_UPTO(13), WORD_UPTO(14), WORD_UPTO(15)};
#undef WORD_UPTO

static inline uint64_t word_mix(uint64_t a, uint64_t b) {
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The key of a word of up to 15 bytes in a text that ends at `end`. */
static inline word_key word_key_of(const uint8_t *p, size_t n, const uint8_t *end) {
    word_key key = {0, 0}, kept;
    if (LF_LIKELY(end - p >= 16)) memcpy(&key, p, 16);
    else memcpy(&key, p, n);
    memcpy(&kept, WORD_KEPT[n], 16);
    return (key & kept) | (word_key){0, (uint64_t)n << 56};
}

static inline uint64_t word_hash(word_key key) {
    return word_mix(key[0] ^ 0x9E3779B97F4A7C15u, key[1] ^ 0xC2B2AE3D27D4EB4Fu);
}

static inline uint64_t word_hash_long(const uint8_t *p, size_t n) {
    uint64_t h = n, a, b;
    for (size_t i = 0; i + 16 < n; i += 16) {
        memcpy(&a, p + i, 8), memcpy(&b, p + i + 8, 8);
        h = word_mix(h ^ a, b ^ 0x9E3779B97F4A7C15u);
    }
    if (n < 16) {
        a = b = 0;
        memcpy(&a, p, n < 8 ? n : 8);
        if (n > 8) memcpy(&b, p + 8, n - 8);
    } else {
        memcpy(&a, p + n - 16, 8), memcpy(&b, p + n - 8, 8);
    }
    return word_mix(h ^ a, b ^ 0xC2B2AE3D27D4EB4Fu);
}

static inline int word_same(word_key a, word_key b) { return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0; }

/* The ids of a short word in the first of its two lines, NULL if it is not there. Without a branch on which of the two
 * it is, which nobody could predict. */
static inline const word_ids *words_probe(const word_cache *c, word_key key, uint64_t hash) {
    const word_line *line = &c->lines[hash & c->line_mask];
    const int first = word_same(line->keys[0], key), second = word_same(line->keys[1], key);
    return first | second ? &line->ids[second] : NULL;
}

/* The same in both lines. A word found in its second line changes places with one in its first, so that words that are
 * often asked for come to stand where one look finds them. */
static inline const word_ids *words_probe_both(word_cache *c, word_key key, uint64_t hash) {
    word_line *home = &c->lines[hash & c->line_mask], *other = &c->lines[(hash ^ 1) & c->line_mask];
    const word_ids *found = words_probe(c, key, hash);
    if (found) return found;
    for (unsigned i = 0; i < 2; i++)
        if (word_same(other->keys[i], key)) {
            const unsigned at = c->turn++ % 2;
            const word_ids ids = other->ids[i];
            other->keys[i] = home->keys[at], other->ids[i] = home->ids[at];
            home->keys[at] = key, home->ids[at] = ids;
            return &home->ids[at];
        }
    return NULL;
}

static inline word_found word_found_in(const word_ids *ids) {
    return (word_found){(const uint32_t *)ids, (*ids)[3] >> 28, (*ids)[3] & WORD_NOTE};
}

/* Whether a word that finds no place has asked for one before. */
static inline int words_asked(word_cache *c, uint64_t hash) {
    const uint64_t bit = hash >> 40 & (8 * sizeof c->asked - 1);
    const int again = c->asked[bit / 8] >> bit % 8 & 1;
    c->asked[bit / 8] ^= (uint8_t)(1u << bit % 8);
    c->n_asked += again ? -1u : 1u;
    if (c->n_asked > 2 * sizeof c->asked) memset(c->asked, 0, sizeof c->asked), c->n_asked = 0;
    return again;
}

static inline word_found words_find_record(const word_cache *c, const uint8_t *p, size_t n, uint64_t hash) {
    const uint64_t slot = c->slots[hash >> 32 & c->slot_mask], place = slot >> 24;
    if ((slot ^ hash) & 0xFFFFFF || !slot || place + c->ring_mask + 1 < c->ring_head) return (word_found){NULL, 0, 0};
    const uint8_t *record = c->ring + (place & c->ring_mask);
    uint32_t head[3];
    memcpy(head, record, sizeof head);
    if (head[0] != n || memcmp(record + 16, p, n)) return (word_found){NULL, 0, 0};
    return (word_found){(const uint32_t *)(const void *)(record + 16 + (n + 3) / 4 * 4), head[1], head[2]};
}

static inline void words_put_record(word_cache *c, const uint8_t *p, size_t n, uint64_t hash, const uint32_t *ids,
                                    size_t n_ids, uint32_t note) {
    const size_t padded = (n + 3) / 4 * 4, size = 16 + padded + n_ids * sizeof *ids;
    const size_t room = c->ring_mask + 1 - (c->ring_head & c->ring_mask);
    if (size > c->ring_mask / 4) return;
    if (size > room) c->ring_head += room; /* a record does not go around the end */
    uint8_t *record = c->ring + (c->ring_head & c->ring_mask);
    const uint32_t head[4] = {(uint32_t)n, (uint32_t)n_ids, note, 0};
    memcpy(record, head, sizeof head);
    memcpy(record + 16, p, n);
    memcpy(record + 16 + padded, ids, n_ids * sizeof *ids);
    c->slots[hash >> 32 & c->slot_mask] = c->ring_head << 24 | (hash & 0xFFFFFF);
    c->ring_head += (size + 15) / 16 * 16;
}

/* Fetches the line or the slot of a word that will be looked for. */
static inline void words_prefetch(const word_cache *c, const uint8_t *p, size_t n, const uint8_t *end) {
    if (n <= WORD_SHORT) __builtin_prefetch(&c->lines[word_hash(word_key_of(p, n, end)) & c->line_mask]);
    else if (n <= WORD_MOST) __builtin_prefetch(&c->slots[word_hash_long(p, n) >> 32 & c->slot_mask]);
}

/* What is known of a word of 1 to WORD_MOST bytes. `end` as in word_key_of. */
static inline word_found words_find(word_cache *c, const uint8_t *p, size_t n, const uint8_t *end) {
    if (n <= WORD_SHORT) {
        const word_key key = word_key_of(p, n, end);
        const word_ids *ids = words_probe_both(c, key, word_hash(key));
        if (ids && (*ids)[3] >> 28 != 15) return word_found_in(ids);
        if (!ids) return (word_found){NULL, 0, 0};
    }
    return words_find_record(c, p, n, word_hash_long(p, n));
}

/* A short word: its ids, of which it is found to have `count`; up to WORD_IDS of them are kept. */
static inline void words_put_short(word_cache *c, word_key key, const uint32_t *ids, size_t n_ids, uint32_t count,
                                   uint32_t note) {
    const uint64_t hash = word_hash(key);
    word_line *line = NULL;
    unsigned at = 0;
    for (unsigned i = 0; i < 4 && !line; i++) {
        word_line *here = &c->lines[(hash ^ i / 2) & c->line_mask];
        if (here->keys[i % 2][1] == 0 || word_same(here->keys[i % 2], key)) line = here, at = i % 2;
    }
    if (!line) {
        if (!words_asked(c, hash)) return;
        line = &c->lines[hash & c->line_mask], at = c->turn++ % 2;
    }
    line->keys[at] = key;
    line->ids[at] = (word_ids){n_ids > 0 ? ids[0] : c->pad, n_ids > 1 ? ids[1] : c->pad, n_ids > 2 ? ids[2] : c->pad,
                               count << 28 | note};
}

/* Puts a word of 1 to WORD_MOST bytes in. A count of 15 in the first table says: see the second. */
static inline void words_put(word_cache *c, const uint8_t *p, size_t n, const uint8_t *end, const uint32_t *ids,
                             size_t n_ids, uint32_t note) {
    if (n <= WORD_SHORT && n_ids <= WORD_IDS) {
        words_put_short(c, word_key_of(p, n, end), ids, n_ids, (uint32_t)n_ids, note);
    } else if (n_ids <= WORD_MOST) {
        if (n <= WORD_SHORT) words_put_short(c, word_key_of(p, n, end), NULL, 0, 15, 0);
        words_put_record(c, p, n, word_hash_long(p, n), ids, n_ids, note);
    }
}

static inline void words_free(word_cache *c) {
    lf_pages_free(c->lines, (c->line_mask + 1) * sizeof *c->lines);
    lf_pages_free(c->slots, (c->slot_mask + 1) * sizeof *c->slots);
    lf_pages_free(c->ring, c->ring_mask + 1);
    memset(c, 0, sizeof *c);
}

static inline size_t words_power_below(size_t n) {
    size_t power = 1 << 13;
    while (2 * power <= n) power *= 2;
    return power;
}

/* Empty tables of at most `bytes` bytes, or 20 KB: two thirds for the lines, a third for the ring and its slots. Returns 0
 * if there is no memory. */
static inline int words_new(word_cache *c, size_t bytes) {
    const size_t lines = words_power_below(bytes / 3 * 2), ring = words_power_below((bytes - bytes / 3 * 2) / 3 * 2);
    memset(c, 0, sizeof *c);
    c->line_mask = lines / sizeof *c->lines - 1;
    c->ring_mask = ring - 1;
    c->slot_mask = ring / 16 - 1; /* one for the shortest record: where two want the same, one is lost */
    c->ring_head = 16;            /* so that no slot in use is 0 */
    c->lines = lf_pages_new(lines);
    c->slots = lf_pages_new((c->slot_mask + 1) * sizeof *c->slots);
    c->ring = lf_pages_new(ring);
    if (c->lines && c->slots && c->ring) return 1;
    words_free(c);
    return 0;
}

#endif
