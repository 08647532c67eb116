/* word_cache.h - words and the ids they are known to have: three tables of fixed size.
 *
 *     a line of the first table, 64 bytes, for two words of up to 15 bytes and 6 ids
 *     | bytes of word 0 ......... length | bytes of word 1 ......... length | id*6 n+note     | id*6 n+note     |
 *     0                                 16                                 32                48                64
 *
 *     a line of the second, for a word of 16 to 31 bytes and up to 14 ids
 *     | first 16 bytes .................. | the others ............. length | id*14                      n+note |
 *     0                                  16                                 32                      60        64
 *
 *     the third, for all else up to WORD_MOST bytes: records in a ring, the oldest overwritten first, found through slots
 *     by hash
 *     a slot:   place in the ring, counted from the beginning of all (40 bits) | hash (24)
 *     a record: bytes of the word (4), number of ids (4), note (4), numbers in all (4), the word, padding to 4, the ids
 *
 * Ids in lines have 16 bits where the vocabulary allows it, and 32 where not: then there is room for 3 and 7 of them.
 *
 * A note is 28 bits that the owner wants back. Only looking at a whole word decides, so what is found is what was put in.
 * A word of which all places are taken must come twice before it takes another's. Behind the ids of a word there may be
 * more numbers that the owner wants to know. Memory: what words_new takes. */
#ifndef LF_TEXT_WORD_CACHE_H
#define LF_TEXT_WORD_CACHE_H

#include <stdlib.h>
#include <string.h>

#include "lf.h"
#include "text/pages.h"

enum {
    WORD_SHORT = 15,  /* bytes of a word in the first table */
    WORD_LONG = 31,   /* ... and in the second */
    WORD_MOST = 128,  /* bytes of a word, and numbers of a word, in the third: longer ones hardly come twice */
    WORD_STORED = 16, /* ids that words_take writes, at most */
    WORD_SEE_RECORD = 15,
    WORD_NOTE = (1 << 28) - 1,
};

typedef uint64_t word_key __attribute__((vector_size(16)));
typedef uint32_t word_ids __attribute__((vector_size(16))); /* the last of them is number << 28 | note */
typedef uint16_t word_narrow8 __attribute__((vector_size(16)));
typedef uint32_t word_wide8 __attribute__((vector_size(32)));

typedef struct {
    word_key keys[2];
    word_ids ids[2];
} __attribute__((aligned(64))) word_line;

typedef struct {
    word_key key[2];
    word_ids ids[2];
} __attribute__((aligned(64))) word_long_line;

typedef struct {
    word_line *lines;
    word_long_line *long_lines;
    uint64_t *slots;
    uint8_t *ring;
    size_t n_lines, n_long;       /* even numbers */
    size_t slot_mask, ring_mask;  /* one less than how many there are: powers of two */
    uint64_t ring_head;           /* where the next record goes, counted from the beginning of all */
    int narrow;                   /* ids of 16 bits */
    unsigned short_ids, long_ids; /* how many a line has room for */
    uint32_t turn;                /* which of two places is taken next */
    uint32_t n_asked;             /* bits set in asked */
    uint32_t pad;                 /* what stands in the place of ids that a word does not have; no id */
    uint32_t found[WORD_STORED];  /* the ids of the line that was found last */
    uint8_t asked[1 << 13];       /* a bit by hash: a word found no place */
} word_cache;

/* What is known of a word: ids (which may be none), the note, and how many numbers there are, the ids among them. ids NULL:
 * nothing. It is lost when another word is looked for. */
typedef struct {
    const uint32_t *ids;
    uint32_t n_ids, note, n_all;
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

/* The key of a word of 16 to 31 bytes: all of them. */
static inline void word_long_key(const uint8_t *p, size_t n, const uint8_t *end, word_key key[2]) {
    memcpy(&key[0], p, 16);
    key[1] = word_key_of(p + 16, n - 16, end) | (word_key){0, (uint64_t)n << 56};
}

static inline uint64_t word_long_hash(const word_key key[2]) {
    const uint64_t first = word_mix(key[0][0] ^ 0x9E3779B97F4A7C15u, key[0][1] ^ 0xC2B2AE3D27D4EB4Fu);
    return word_mix(first ^ key[1][0], key[1][1] ^ 0x27D4EB2F165667C5u);
}

/* Where a word belongs: its hash scaled to the number of lines, which need be no power of two. Its other place is the line
 * beside it. */
static inline word_line *word_home(const word_cache *c, uint64_t hash) {
    return &c->lines[(hash & 0xFFFFFFFF) * c->n_lines >> 32];
}
static inline word_long_line *word_long_home(const word_cache *c, uint64_t hash) {
    return &c->long_lines[(hash >> 32) * c->n_long >> 32];
}
static inline word_line *word_beside(const word_cache *c, const word_line *line) {
    return &c->lines[(size_t)(line - c->lines) ^ 1];
}
static inline word_long_line *word_long_beside(const word_cache *c, const word_long_line *line) {
    return &c->long_lines[(size_t)(line - c->long_lines) ^ 1];
}

/* Lines. */

static inline uint32_t word_count(word_ids entry) { return entry[3] >> 28; }
static inline uint32_t word_note(word_ids entry) { return entry[3] & WORD_NOTE; }

/* Writes the ids of an entry of the first table and up to 5 more numbers after them. */
static inline void words_take(const word_ids *entry, int narrow, uint32_t *ids) {
    if (!narrow) {
        memcpy(ids, entry, sizeof *entry);
        return;
    }
    const word_wide8 wide = __builtin_convertvector((word_narrow8)*entry, word_wide8);
    memcpy(ids, &wide, sizeof wide);
}

/* The ids of a short word in the first of its two lines, NULL if it is not there. Without a branch on which of the two
 * it is, which nobody could predict. */
static inline const word_ids *words_probe_line(const word_line *line, word_key key) {
    const int first = word_same(line->keys[0], key), second = word_same(line->keys[1], key);
    return first | second ? &line->ids[second] : NULL;
}

/* The same in both lines. A word found in its second line changes places with one in its first, so that words that are
 * often asked for come to stand where one look finds them. */
static inline const word_ids *words_probe_both(word_cache *c, word_key key, uint64_t hash) {
    word_line *home = word_home(c, hash), *other = word_beside(c, home);
    const word_ids *found = words_probe_line(home, key);
    if (found || home->keys[1][1] == 0) return found; /* no word is beside a line with a free place */
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

static inline int word_long_same(const word_long_line *line, const word_key key[2]) {
    return word_same(line->key[0], key[0]) && word_same(line->key[1], key[1]);
}

static inline const word_ids *words_probe_long(word_cache *c, const word_key key[2], uint64_t hash) {
    word_long_line *home = word_long_home(c, hash), *other = word_long_beside(c, home);
    if (LF_LIKELY(word_long_same(home, key))) return home->ids;
    if (home->key[1][1] == 0 || !word_long_same(other, key)) return NULL;
    const word_long_line line = *home;
    *home = *other, *other = line;
    return home->ids;
}

/* What an entry of n vectors tells. */
static inline word_found words_found_in(word_cache *c, const word_ids *entry, unsigned n) {
    const unsigned room = n == 1 ? c->short_ids : c->long_ids;
    word_found found = {c->found, word_count(entry[n - 1]), word_note(entry[n - 1]), 0};
    for (unsigned i = 0; i < n; i++) words_take(&entry[i], c->narrow, c->found + (c->narrow ? 8 : 4) * i);
    while (found.n_all < room && c->found[found.n_all] != c->pad) found.n_all++;
    return found;
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

/* Fills an entry of n vectors. */
static inline void words_fill(const word_cache *c, word_ids *entry, unsigned n, const uint32_t *ids, size_t n_all,
                              size_t n_ids, uint32_t note) {
    const unsigned room = n == 1 ? c->short_ids : c->long_ids;
    uint32_t all[2 * WORD_STORED];
    for (unsigned i = 0; i < room; i++) all[i] = i < n_all ? ids[i] : c->pad;
    if (c->narrow) {
        uint16_t narrow[WORD_STORED];
        for (unsigned i = 0; i < room; i++) narrow[i] = (uint16_t)all[i];
        memcpy(entry, narrow, room * sizeof *narrow);
    } else {
        memcpy(entry, all, room * sizeof *all);
    }
    entry[n - 1][3] = (uint32_t)n_ids << 28 | note;
}

static inline void words_put_short(word_cache *c, word_key key, const uint32_t *ids, size_t n_all, size_t n_ids,
                                   uint32_t note) {
    const uint64_t hash = word_hash(key);
    word_line *home = word_home(c, hash), *line = NULL;
    unsigned at = 0;
    for (unsigned i = 0; i < 4 && !line; i++) {
        word_line *here = i < 2 ? home : word_beside(c, home);
        if (here->keys[i % 2][1] == 0 || word_same(here->keys[i % 2], key)) line = here, at = i % 2;
    }
    if (!line) {
        if (!words_asked(c, hash)) return;
        line = home, at = c->turn++ % 2;
    }
    line->keys[at] = key;
    words_fill(c, &line->ids[at], 1, ids, n_all, n_ids, note);
}

static inline void words_put_long(word_cache *c, const word_key key[2], const uint32_t *ids, size_t n_all, size_t n_ids,
                                  uint32_t note) {
    const uint64_t hash = word_long_hash(key);
    word_long_line *line = word_long_home(c, hash), *other = word_long_beside(c, line);
    if (line->key[1][1] != 0 && !word_long_same(line, key)) {
        if (other->key[1][1] == 0 || word_long_same(other, key)) line = other;
        else if (!words_asked(c, hash)) return;
        else if (c->turn++ % 2) line = other;
    }
    memcpy(line->key, key, sizeof line->key);
    words_fill(c, line->ids, 2, ids, n_all, n_ids, note);
}

/* Records. */

static inline word_found words_find_record(const word_cache *c, const uint8_t *p, size_t n, uint64_t hash) {
    const uint64_t slot = c->slots[hash >> 32 & c->slot_mask], place = slot >> 24;
    const word_found nothing = {NULL, 0, 0, 0};
    if ((slot ^ hash) & 0xFFFFFF || !slot || place + c->ring_mask + 1 < c->ring_head) return nothing;
    const uint8_t *record = c->ring + (place & c->ring_mask);
    uint32_t head[4];
    memcpy(head, record, sizeof head);
    if (head[0] != n || memcmp(record + 16, p, n)) return nothing;
    return (word_found){(const uint32_t *)(const void *)(record + 16 + (n + 3) / 4 * 4), head[1], head[2], head[3]};
}

static inline void words_put_record(word_cache *c, const uint8_t *p, size_t n, uint64_t hash, const uint32_t *ids,
                                    size_t n_all, size_t n_ids, uint32_t note) {
    const size_t padded = (n + 3) / 4 * 4, size = 16 + padded + n_all * sizeof *ids;
    const size_t room = c->ring_mask + 1 - (c->ring_head & c->ring_mask);
    if (size > c->ring_mask / 4) return;
    if (size > room) c->ring_head += room; /* a record does not go around the end */
    uint8_t *record = c->ring + (c->ring_head & c->ring_mask);
    const uint32_t head[4] = {(uint32_t)n, (uint32_t)n_ids, note, (uint32_t)n_all};
    memcpy(record, head, sizeof head);
    memcpy(record + 16, p, n);
    memcpy(record + 16 + padded, ids, n_all * sizeof *ids);
    c->slots[hash >> 32 & c->slot_mask] = c->ring_head << 24 | (hash & 0xFFFFFF);
    c->ring_head += (size + 15) / 16 * 16;
}

/* Words. */

/* Fetches the line or the slot of a word that will be looked for. */
static inline void words_prefetch(const word_cache *c, const uint8_t *p, size_t n, const uint8_t *end) {
    if (n <= WORD_SHORT) {
        __builtin_prefetch(word_home(c, word_hash(word_key_of(p, n, end))));
    } else if (n <= WORD_LONG) {
        word_key key[2];
        word_long_key(p, n, end, key);
        __builtin_prefetch(word_long_home(c, word_long_hash(key)));
    } else if (n <= WORD_MOST) {
        __builtin_prefetch(&c->slots[word_hash_long(p, n) >> 32 & c->slot_mask]);
    }
}

/* The key of a word of any length, and the line in which words_probe_line may find it; what will be read is fetched. A word of
 * more than WORD_SHORT bytes gets a key that none has. `end` as in word_key_of. */
static inline word_line *words_key(const word_cache *c, const uint8_t *p, size_t n, const uint8_t *end, word_key *key) {
    if (LF_UNLIKELY(n > WORD_SHORT)) {
        *key = (word_key){~(uint64_t)0, ~(uint64_t)0};
        words_prefetch(c, p, n, end);
        return c->lines;
    }
    *key = word_key_of(p, n, end);
    word_line *line = word_home(c, word_hash(*key));
    __builtin_prefetch(line);
    return line;
}

/* What is known of a word of 1 to WORD_MOST bytes. `end` as in word_key_of. */
static inline word_found words_find(word_cache *c, const uint8_t *p, size_t n, const uint8_t *end) {
    if (n <= WORD_LONG) {
        word_key key[2];
        const word_ids *entry;
        const unsigned n_vectors = n <= WORD_SHORT ? 1 : 2;
        if (n <= WORD_SHORT) key[0] = word_key_of(p, n, end), entry = words_probe_both(c, key[0], word_hash(key[0]));
        else word_long_key(p, n, end, key), entry = words_probe_long(c, key, word_long_hash(key));
        if (!entry) return (word_found){NULL, 0, 0, 0};
        if (LF_LIKELY(word_count(entry[n_vectors - 1]) != WORD_SEE_RECORD)) return words_found_in(c, entry, n_vectors);
    }
    return words_find_record(c, p, n, word_hash_long(p, n));
}

/* Puts a word of 1 to WORD_MOST bytes in: n_all numbers, the first n_ids of which are its ids. */
static inline void words_put(word_cache *c, const uint8_t *p, size_t n, const uint8_t *end, const uint32_t *ids,
                             size_t n_all, size_t n_ids, uint32_t note) {
    const size_t room = n <= WORD_SHORT ? c->short_ids : n <= WORD_LONG ? c->long_ids : 0;
    int in_line = n <= WORD_LONG && n_all <= room;
    for (size_t i = 0; i < n_all && in_line; i++) in_line = ids[i] < c->pad;
    if (n_all > WORD_MOST) return;
    if (n <= WORD_LONG) {
        word_key key[2];
        if (!in_line) words_put_record(c, p, n, word_hash_long(p, n), ids, n_all, n_ids, note);
        if (!in_line) n_all = 0, n_ids = WORD_SEE_RECORD, note = 0;
        if (n <= WORD_SHORT) words_put_short(c, word_key_of(p, n, end), ids, n_all, n_ids, note);
        else word_long_key(p, n, end, key), words_put_long(c, key, ids, n_all, n_ids, note);
    } else {
        words_put_record(c, p, n, word_hash_long(p, n), ids, n_all, n_ids, note);
    }
}

static inline void words_free(word_cache *c) {
    lf_pages_free(c->lines, c->n_lines * sizeof *c->lines);
    lf_pages_free(c->long_lines, c->n_long * sizeof *c->long_lines);
    lf_pages_free(c->slots, (c->slot_mask + 1) * sizeof *c->slots);
    lf_pages_free(c->ring, c->ring_mask + 1);
    memset(c, 0, sizeof *c);
}

static inline size_t words_power_below(size_t n) {
    size_t power = 1 << 13;
    while (2 * power <= n) power *= 2;
    return power;
}

/* Empty tables of at most `bytes` bytes, or 40 KB, for ids below n_ids: five eighths for the first table, two for the
 * second and one for the ring and its slots. Returns 0 if there is no memory. */
static inline int words_new(word_cache *c, size_t bytes, uint32_t n_ids) {
    const size_t eighth = (bytes > 40 << 10 ? bytes : 40 << 10) / 8, ring = words_power_below(eighth / 5 * 4);
    memset(c, 0, sizeof *c);
    c->n_lines = 5 * eighth / sizeof *c->lines / 2 * 2;
    c->n_long = 2 * eighth / sizeof *c->long_lines / 2 * 2;
    c->ring_mask = ring - 1;
    c->slot_mask = ring / 32 - 1; /* where two want the same, one is lost */
    c->ring_head = 16;            /* so that no slot in use is 0 */
    c->pad = n_ids, c->narrow = n_ids <= UINT16_MAX;
    c->short_ids = c->narrow ? 6 : 3, c->long_ids = c->narrow ? 14 : 7;
    c->lines = lf_pages_new(c->n_lines * sizeof *c->lines);
    c->long_lines = lf_pages_new(c->n_long * sizeof *c->long_lines);
    c->slots = lf_pages_new((c->slot_mask + 1) * sizeof *c->slots);
    c->ring = lf_pages_new(ring);
    if (c->lines && c->long_lines && c->slots && c->ring) return 1;
    words_free(c);
    return 0;
}

#endif
