/* piece_tables.h - pieces and the ids they are known to have: three tables of fixed size; encode.h draws them. Included by
 * encode_body.h, since keys and hashes are made with the registers of the instruction set.
 *
 * Exactness: a key holds all bytes of its piece, or leads to a record that does, so what is found is what was put in.
 * Memory: what tables_new takes, whatever is put in. */
#include <stdlib.h>
#include <string.h>

#include "lf.h"
#include "text/pages.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    PROBES = 4,        /* lines a key may stand in */
    SHORT_KEY = 15,    /* bytes of a piece in the first table */
    LONG_KEY = 31,     /* ... and in the second */
    SHORT_IDS = 4,     /* ids of a piece in the first table */
    LONG_IDS = 7,      /* ... and in the second */
    SEE_LONG = 15,     /* the number of ids of a key whose ids are in the second table */
    SEE_RECORD = 8,    /* ... and of one whose ids are in the third */
    RECORD_MOST = 512, /* bytes of a piece in the third table */
    COUNT_SHIFT = 28,  /* the top four bits of a line's last id hold how many there are */
    ID_MASK = (1 << COUNT_SHIFT) - 1,
};

typedef uint64_t key16 __attribute__((vector_size(16)));
typedef struct {
    key16 half[2];
} key32;
typedef uint32_t ids4 __attribute__((vector_size(16)));

typedef struct {
    key16 key[2];
    ids4 ids[2];
} __attribute__((aligned(64))) short_line;

typedef struct {
    key32 key;
    uint32_t ids[LONG_IDS];
    uint16_t n_ids, length; /* n_ids 0: a free line */
} __attribute__((aligned(64))) long_line;

typedef struct {
    short_line *lines;
    long_line *long_lines;
    uint8_t *ring;
    uint64_t *slots;                                   /* of records, by hash */
    size_t line_mask, long_mask, ring_mask, slot_mask; /* one less than how many there are: powers of two */
    uint64_t ring_head;    /* where the next record goes, counted from the beginning of all */
    uint32_t turn;         /* counts: which of several places is taken next */
    uint32_t n_seen;       /* bits set in seen */
    uint8_t seen[1 << 15]; /* see comes_again */
} tables;

/* Keys. */

/* Row n keeps the first n bytes of a key and row n of LENGTHS puts n into the last; row 16 is any longer piece. */
#define UPTO(n)                                                                                                        \
    {n > 0 ? 255 : 0,  n > 1 ? 255 : 0,  n > 2 ? 255 : 0,  n > 3 ? 255 : 0,                                            \
     n > 4 ? 255 : 0,  n > 5 ? 255 : 0,  n > 6 ? 255 : 0,  n > 7 ? 255 : 0,                                            \
     n > 8 ? 255 : 0,  n > 9 ? 255 : 0,  n > 10 ? 255 : 0, n > 11 ? 255 : 0,                                           \
     n > 12 ? 255 : 0, n > 13 ? 255 : 0, n > 14 ? 255 : 0, 0}
static const uint8_t KEPT[17][16] __attribute__((aligned(16))) = {
    UPTO(0), UPTO(1),  UPTO(2),  UPTO(3),  UPTO(4),  UPTO(5),  UPTO(6),  UPTO(7), UPTO(8),
    UPTO(9), UPTO(10), UPTO(11), UPTO(12), UPTO(13), UPTO(14), UPTO(15), UPTO(16)};
#undef UPTO

static inline key16 key16_of(const uint8_t *p, size_t n, const uint8_t *end) {
    const uint64_t length = n > SHORT_KEY ? SHORT_KEY + 1 : n;
    key16 key = {0}, kept;
    if (LF_LIKELY(end - p >= 16)) memcpy(&key, p, 16);
    else memcpy(&key, p, (size_t)(end - p));
    memcpy(&kept, KEPT[length], 16);
    return (key & kept) | (key16){0, length << 56};
}

/* The first and the last 16 bytes of a piece of 16 to 31, which with its length are all of it; or a short key. */
static inline key32 key32_of(const uint8_t *p, size_t n, const uint8_t *end) {
    key32 key = {{{0}, {0}}};
    if (n <= SHORT_KEY) return key.half[0] = key16_of(p, n, end), key;
    memcpy(&key.half[0], p, 16);
    memcpy(&key.half[1], p + n - 16, 16);
    return key;
}

#if defined(__VAES__)
#define AES_KEY_1 _mm_set_epi64x((long long)0x9E3779B97F4A7C15u, (long long)0xC2B2AE3D27D4EB4Fu)
#define AES_KEY_2 _mm_set_epi64x((long long)0x165667B19E3779F9u, (long long)0x27D4EB2F165667C5u)
#endif

static inline uint64_t mix(uint64_t a, uint64_t b) {
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash16(key16 key) {
#if defined(__VAES__)
    const __m128i round = _mm_aesenc_si128((__m128i)key, AES_KEY_1);
    return (uint64_t)_mm_cvtsi128_si64(_mm_aesenc_si128(round, AES_KEY_2)) & 0xFFFFFFFF; /* as key_four has it */
#else
    return mix(key[0] ^ 0x9E3779B97F4A7C15u, key[1] ^ 0xC2B2AE3D27D4EB4Fu);
#endif
}

static inline uint64_t hash32(key32 key, size_t n) {
    const key16 a = key.half[0], b = key.half[1];
    const uint64_t first = mix(a[0] ^ 0x9E3779B97F4A7C15u, a[1] ^ 0xC2B2AE3D27D4EB4Fu);
    return mix(first ^ b[0] ^ n << 32, b[1] ^ 0x27D4EB2F165667C5u);
}

static inline int same16(key16 a, key16 b) { return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0; }
static inline int same32(const key32 *a, const key32 *b) {
    return same16(a->half[0], b->half[0]) && same16(a->half[1], b->half[1]);
}
static inline int is_free(const key16 *key) { return (*key)[1] == 0; } /* a key has its length in the top byte */

/* Tables: finding and remembering. The finders return how many ids they wrote, 0 if the key is not there. */

static inline unsigned take4(ids4 line, uint32_t *ids) {
    const unsigned n = line[3] >> COUNT_SHIFT;
    line &= (uint32_t)ID_MASK;
    memcpy(ids, &line, sizeof line);
    return n;
}

/* SEE_LONG: the piece has more ids than fit here and is in the second table. A key found away from its home line changes
 * places with one there, so keys that are asked for often come to stand where one look finds them. */
static unsigned find_short(tables *t, key16 key, uint64_t hash, uint32_t *ids) {
    short_line *home = &t->lines[hash & t->line_mask];
    for (size_t i = 0; i < PROBES; i++) {
        short_line *line = &t->lines[(hash + i) & t->line_mask];
        for (unsigned s = 0; s < 2; s++)
            if (same16(line->key[s], key)) {
                const ids4 found = line->ids[s];
                if (i) {
                    const unsigned other = t->turn++ % 2;
                    line->key[s] = home->key[other], line->ids[s] = home->ids[other];
                    home->key[other] = key, home->ids[other] = found;
                }
                return take4(found, ids);
            }
        if (is_free(&line->key[1])) return 0;
    }
    return 0;
}

/* Whether a key may take the place of another where all its places are taken: only when it is asked for again, so that
 * the many pieces of a text that come once do not drive out those that come often. */
static int comes_again(tables *t, uint64_t hash) {
    const uint64_t bit = hash >> 7 & (8 * sizeof t->seen - 1);
    const int again = t->seen[bit / 8] >> bit % 8 & 1;
    t->seen[bit / 8] ^= (uint8_t)(1u << bit % 8);
    t->n_seen += again ? -1u : 1u;
    if (t->n_seen > 2 * sizeof t->seen) memset(t->seen, 0, sizeof t->seen), t->n_seen = 0;
    return again;
}

static void remember_short(tables *t, key16 key, uint64_t hash, const uint32_t *ids, unsigned n) {
    size_t i = 0;
    unsigned slot = 0;
    for (; i < PROBES; i++) {
        const short_line *line = &t->lines[(hash + i) & t->line_mask];
        if (is_free(&line->key[slot = 0]) || is_free(&line->key[slot = 1])) break;
    }
    if (i == PROBES) {
        if (!comes_again(t, hash)) return;
        i = t->turn / 2 % PROBES, slot = t->turn++ % 2;
    }
    short_line *line = &t->lines[(hash + i) & t->line_mask];
    line->key[slot] = key;
    line->ids[slot] = (ids4){ids[0], n > 1 ? ids[1] : 0, n > 2 ? ids[2] : 0, (n > 3 ? ids[3] : 0) | n << COUNT_SHIFT};
}

static unsigned find_long(const tables *t, const key32 *key, size_t length, uint64_t hash, uint32_t *ids) {
    for (size_t i = 0; i < PROBES; i++) {
        const long_line *line = &t->long_lines[(hash + i) & t->long_mask];
        if (line->length == length && same32(&line->key, key))
            return memcpy(ids, line->ids, sizeof line->ids), line->n_ids;
        if (line->n_ids == 0) return 0;
    }
    return 0;
}

static void remember_long(tables *t, const key32 *key, size_t length, uint64_t hash, const uint32_t *ids, size_t n) {
    size_t i = 0;
    while (i < PROBES && t->long_lines[(hash + i) & t->long_mask].n_ids) i++;
    if (i == PROBES) {
        if (!comes_again(t, hash)) return;
        i = t->turn++ % PROBES;
    }
    long_line *line = &t->long_lines[(hash + i) & t->long_mask];
    line->key = *key;
    memcpy(line->ids, ids, n == SEE_RECORD ? 0 : n * sizeof *ids);
    line->n_ids = (uint16_t)n;
    line->length = (uint16_t)length;
}

/* The third table: records of any length in a ring, the oldest overwritten first, found through slots by hash.
 *
 *     a slot: position in the ring, counted from the beginning (40 bits) | hash (24)
 *     a record: bytes of the piece (4), number of ids (4), the piece, padding to 4, the ids */
static const uint8_t *record_at(const tables *t, uint64_t slot, uint64_t hash) {
    const uint64_t position = slot >> 24;
    if ((slot ^ hash) & 0xFFFFFF || !slot || position + t->ring_mask + 1 < t->ring_head) return NULL;
    return t->ring + (position & t->ring_mask);
}

static size_t find_record(const tables *t, const uint8_t *p, size_t n, uint64_t hash, uint32_t *ids) {
    const uint8_t *record = record_at(t, t->slots[hash >> 32 & t->slot_mask], hash);
    uint32_t head[2];
    if (!record || (memcpy(head, record, 8), head[0] != n) || memcmp(record + 8, p, n)) return 0;
    memcpy(ids, record + 8 + (n + 3) / 4 * 4, head[1] * sizeof *ids);
    return head[1];
}

static void remember_record(tables *t, const uint8_t *p, size_t n, uint64_t hash, const uint32_t *ids, size_t n_ids) {
    const size_t padded = (n + 3) / 4 * 4, size = 8 + padded + n_ids * sizeof *ids;
    const size_t room = t->ring_mask + 1 - (t->ring_head & t->ring_mask);
    if (size > room) t->ring_head += room; /* a record does not go around the end */
    uint8_t *record = t->ring + (t->ring_head & t->ring_mask);
    const uint32_t head[2] = {(uint32_t)n, (uint32_t)n_ids};
    memcpy(record, head, 8);
    memcpy(record + 8, p, n);
    memcpy(record + 8 + padded, ids, n_ids * sizeof *ids);
    t->slots[hash >> 32 & t->slot_mask] = t->ring_head << 24 | (hash & 0xFFFFFF);
    t->ring_head += size;
}

static uint64_t hash_record(const uint8_t *p, size_t n) {
    uint64_t h = n, a, b;
    for (size_t i = 0; i + 16 < n; i += 16) {
        memcpy(&a, p + i, 8), memcpy(&b, p + i + 8, 8);
        h = mix(h ^ a, b ^ 0x9E3779B97F4A7C15u);
    }
    if (n < 16) {
        a = b = 0;
        memcpy(&a, p, n < 8 ? n : 8);
        if (n > 8) memcpy(&b, p + 8, n - 8);
    } else {
        memcpy(&a, p + n - 16, 8), memcpy(&b, p + n - 8, 8);
    }
    return mix(h ^ a, b ^ 0xC2B2AE3D27D4EB4Fu);
}

static size_t power_of_two_below(size_t n) {
    size_t p = 1;
    while (2 * p <= n) p *= 2;
    return p;
}

static void tables_free(tables *t) {
    lf_pages_free(t->lines, (t->line_mask + 1) * sizeof *t->lines);
    lf_pages_free(t->long_lines, (t->long_mask + 1) * sizeof *t->long_lines);
    lf_pages_free(t->ring, t->ring_mask + 1);
    lf_pages_free(t->slots, (t->slot_mask + 1) * sizeof *t->slots);
}

/* Empty tables of about `bytes` bytes in all, at least 64 KB: two thirds for the first, a third for the second, and a
 * tenth more for the third. Returns 0 if there is no memory. */
static int tables_new(tables *t, size_t bytes) {
    const size_t n_lines = power_of_two_below(bytes / sizeof(short_line) * 2 / 3), n_ring = n_lines * 8;
    t->line_mask = n_lines - 1;
    t->long_mask = n_lines / 2 - 1;
    t->ring_mask = n_ring - 1;
    t->slot_mask = n_ring / 32 - 1;
    t->ring_head = 1; /* so that no slot in use is 0 */
    t->lines = lf_pages_new(n_lines * sizeof *t->lines);
    t->long_lines = lf_pages_new(n_lines / 2 * sizeof *t->long_lines);
    t->ring = lf_pages_new(n_ring);
    t->slots = lf_pages_new(n_ring / 32 * sizeof *t->slots);
    if (t->lines && t->long_lines && t->ring && t->slots) return 1;
    tables_free(t);
    return 0;
}
