/* piece_tables.h - pieces and the ids they are known to have: two tables and a ring of fixed size; encode.h draws them. Included by
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
    PROBES = 8,     /* lines a key may stand in */
    SHORT_KEY = 15, /* bytes of a piece in the first table */
    LONG_KEY = 31,  /* ... and in the second */
    SHORT_IDS = 8,  /* more than a piece in the first table has ids there: a register of them is written */
    LONG_IDS = 7,   /* ids of a piece in the second */
    SEE_TAIL = 15,  /* the number of ids of an entry whose ids are in the ring */
    LOST = 32,      /* what a finder returns for such an entry whose ids have been overwritten: more than a key has */
    RECORD_MOST = 512, /* bytes of a piece in the ring */
    COUNT_SHIFT = 60,  /* the top four bits of packed ids hold how many there are */
};

typedef uint64_t key16 __attribute__((vector_size(16)));
typedef struct {
    key16 half[2];
} key32;
typedef uint32_t ids4 __attribute__((vector_size(16)));
typedef uint64_t packed __attribute__((vector_size(16))); /* ids side by side, see packing */

typedef struct {
    key16 key[2];
    packed ids[2];
} __attribute__((aligned(64))) short_line;

typedef struct {
    key32 key;
    uint32_t ids[LONG_IDS];
    uint16_t n_ids, length; /* n_ids 0: a free line */
} __attribute__((aligned(64))) long_line;

/* How ids are packed: as many as fit into 124 bits, each with as many bits as the largest id of the vocabulary needs. An id
 * lies in four bytes, wherever it begins, so one shuffle, one shift a lane and a mask take all of them apart. */
typedef struct {
    uint8_t bytes[SHORT_IDS][4]; /* the four of each id, numbered as they lie */
    uint32_t shifts[SHORT_IDS];  /* how far it lies from the first of them    */
    uint32_t masks[SHORT_IDS];   /* all the same: its bits                    */
    unsigned bits, most;
} __attribute__((aligned(32))) packing;

typedef struct {
    packing packing;
    short_line *lines;
    long_line *long_lines;
    uint8_t *ring;
    uint64_t *slots;             /* of records, by hash */
    size_t n_lines, n_long;      /* home lines; a few more follow for keys that are probed past the last */
    size_t ring_mask, slot_mask; /* one less than how many bytes and slots: powers of two */
    uint64_t ring_head;          /* where the next record or tail goes, counted from the beginning of all */
    int narrow;                  /* no id has more than 16 bits: tails */
    uint32_t turn;               /* counts: which of several places is taken next */
    uint32_t n_seen;             /* bits set in seen */
    uint8_t seen[1 << 15];       /* see comes_again */
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

/* Where a key belongs: its hash scaled to the number of lines, which need be no power of two. */
static inline size_t home_of(const tables *t, uint64_t hash) { return (hash & 0xFFFFFFFF) * t->n_lines >> 32; }
static inline size_t long_home_of(const tables *t, uint64_t hash) { return (hash >> 32) * t->n_long >> 32; }

/* Room for `size` bytes in the ring, all in one stretch; *position is what at_position will know them by. */
static uint8_t *ring_room(tables *t, size_t size, uint64_t *position) {
    const size_t room = t->ring_mask + 1 - (t->ring_head & t->ring_mask);
    if (size > room) t->ring_head += room;
    *position = t->ring_head;
    t->ring_head += size;
    return t->ring + (*position & t->ring_mask);
}

/* What was put there, NULL where it has been overwritten. */
static inline const uint8_t *at_position(const tables *t, uint64_t position) {
    return position + t->ring_mask + 1 < t->ring_head ? NULL : t->ring + (position & t->ring_mask);
}

/* Tails: the ids of an entry that has more of them than fit, 16 bits each where no id of the vocabulary has more. The entry
 * has the position and the number instead. */

static uint64_t put_tail(tables *t, const uint32_t *ids, size_t n) {
    uint64_t position;
    uint8_t *tail = ring_room(t, (n * (t->narrow ? 2 : 4) + 3) & ~(size_t)3, &position);
    for (size_t i = 0; t->narrow && i < n; i++) memcpy(tail + 2 * i, &(uint16_t){(uint16_t)ids[i]}, 2);
    if (!t->narrow) memcpy(tail, ids, n * sizeof *ids);
    return position;
}

/* Writes the n ids, up to three more after them, and returns n; LOST where they are gone. */
static inline unsigned take_tail(const tables *t, uint64_t position, unsigned n, uint32_t *ids) {
    typedef uint16_t narrow4 __attribute__((vector_size(8)));
    const uint8_t *tail = at_position(t, position);
    if (LF_UNLIKELY(!tail)) return LOST;
    if (!ids) return n;
    for (unsigned i = 0; i < n; i += 4) {
        ids4 four;
        narrow4 narrow;
        if (t->narrow) memcpy(&narrow, tail + 2 * i, sizeof narrow), four = __builtin_convertvector(narrow, ids4);
        else memcpy(&four, tail + 4 * i, sizeof four);
        memcpy(ids + i, &four, sizeof four);
    }
    return n;
}

/* Packed ids. */

static packing packing_for(uint32_t largest_id) {
    packing p = {.bits = 8};
    while (p.bits < 28 && largest_id >> p.bits) p.bits++;
    if (p.bits > 25) p.bits = 28; /* so that four bytes hold it */
    p.most = 124 / p.bits < SHORT_IDS ? 124 / p.bits : SHORT_IDS - 1;
    for (unsigned i = 0; i < SHORT_IDS; i++) p.masks[i] = (1u << p.bits) - 1;
    for (unsigned i = 0; i < p.most; i++) {
        const unsigned first = i * p.bits / 8 < 12 ? i * p.bits / 8 : 12;
        for (unsigned k = 0; k < 4; k++) p.bytes[i][k] = (uint8_t)(first + k);
        p.shifts[i] = i * p.bits - 8 * first;
    }
    return p;
}

static packed pack(const packing *p, const uint32_t *ids, unsigned n) {
    unsigned __int128 all = 0;
    for (unsigned i = n; i-- > 0;) all = all << p->bits | ids[i];
    return (packed){(uint64_t)all, (uint64_t)(all >> 64) | (uint64_t)n << COUNT_SHIFT};
}

/* Writes at most SHORT_IDS ids, of which those past the number are nothing. */
static inline void unpack(const packing *p, const packed *entry, uint32_t *ids) {
#if defined(__AVX2__)
    const __m256i four =
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256((__m128i)*entry), _mm256_load_si256((const void *)p->bytes));
    const __m256i moved = _mm256_srlv_epi32(four, _mm256_load_si256((const void *)p->shifts));
    _mm256_storeu_si256((void *)ids, _mm256_and_si256(moved, _mm256_load_si256((const void *)p->masks)));
#else
    const unsigned n = (unsigned)((*entry)[1] >> COUNT_SHIFT);
    const uint32_t mask = p->masks[0];
    ids[0] = (uint32_t)(*entry)[0] & mask, ids[1] = (uint32_t)((*entry)[0] >> p->bits) & mask; /* hardly ever more */
    if (n <= 2) return;
    unsigned __int128 all = ((unsigned __int128)(*entry)[1] << 64 | (*entry)[0]) >> p->bits;
    for (unsigned i = 2; i < n; i++) ids[i] = (uint32_t)(all >>= p->bits) & mask;
#endif
}

/* A key found away from its home line changes places with one there, so keys that are asked for often come to stand where
 * one look finds them. */
static unsigned find_short(tables *t, key16 key, uint64_t hash, uint32_t *ids) {
    short_line *home = &t->lines[home_of(t, hash)];
    for (size_t i = 0; i < PROBES; i++) {
        short_line *line = home + i;
        for (unsigned s = 0; s < 2; s++)
            if (same16(line->key[s], key)) {
                const packed found = line->ids[s];
                if (i) {
                    const unsigned other = t->turn++ % 2;
                    line->key[s] = home->key[other], line->ids[s] = home->ids[other];
                    home->key[other] = key, home->ids[other] = found;
                }
                const unsigned n = (unsigned)(found[1] >> COUNT_SHIFT);
                if (n == SEE_TAIL) return take_tail(t, found[0], (unsigned)(found[1] & 0xFF), ids);
                return unpack(&t->packing, &found, ids), n;
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

/* No place is free before the one where a key stands, so the first that is free or its own is right. */
static void remember_short(tables *t, key16 key, uint64_t hash, const uint32_t *ids, unsigned n) {
    short_line *line = &t->lines[home_of(t, hash)];
    size_t i = 0;
    unsigned slot = 0;
    for (; i < PROBES; i++) {
        const key16 *keys = line[i].key;
        if (is_free(&keys[slot = 0]) || same16(keys[0], key) || is_free(&keys[slot = 1]) || same16(keys[1], key)) break;
    }
    if (i == PROBES) {
        if (!comes_again(t, hash)) return;
        i = t->turn / 2 % PROBES, slot = t->turn++ % 2;
    }
    line[i].key[slot] = key;
    line[i].ids[slot] = n <= t->packing.most ? pack(&t->packing, ids, n)
                                             : (packed){put_tail(t, ids, n), n | (uint64_t)SEE_TAIL << COUNT_SHIFT};
}

static unsigned find_long(const tables *t, const key32 *key, size_t length, uint64_t hash, uint32_t *ids) {
    const long_line *line = &t->long_lines[long_home_of(t, hash)];
    for (size_t i = 0; i < PROBES; i++, line++) {
        if (line->length == length && same32(&line->key, key)) {
            uint64_t position;
            if (line->n_ids > LONG_IDS)
                return memcpy(&position, line->ids, sizeof position), take_tail(t, position, line->n_ids, ids);
            return memcpy(ids, line->ids, sizeof line->ids), line->n_ids;
        }
        if (line->n_ids == 0) return 0;
    }
    return 0;
}

static void remember_long(tables *t, const key32 *key, size_t length, uint64_t hash, const uint32_t *ids, size_t n) {
    long_line *line = &t->long_lines[long_home_of(t, hash)];
    size_t i = 0;
    while (i < PROBES && line[i].n_ids && !(line[i].length == length && same32(&line[i].key, key))) i++;
    if (i == PROBES) {
        if (!comes_again(t, hash)) return;
        i = t->turn++ % PROBES;
    }
    line += i;
    line->key = *key;
    if (n > LONG_IDS) memcpy(line->ids, &(uint64_t){put_tail(t, ids, n)}, sizeof(uint64_t));
    else memcpy(line->ids, ids, n * sizeof *ids);
    line->n_ids = (uint16_t)n;
    line->length = (uint16_t)length;
}

/* Records: longer pieces and their ids in the ring, found through slots by hash.
 *
 *     a slot: position in the ring, counted from the beginning (40 bits) | hash (24)
 *     a record: bytes of the piece (4), number of ids (4), the piece, padding to 4, the ids */
static size_t find_record(const tables *t, const uint8_t *p, size_t n, uint64_t hash, uint32_t *ids) {
    const uint64_t slot = t->slots[hash >> 32 & t->slot_mask];
    if ((slot ^ hash) & 0xFFFFFF || !slot) return 0;
    const uint8_t *record = at_position(t, slot >> 24);
    uint32_t head[2];
    if (!record || (memcpy(head, record, 8), head[0] != n) || memcmp(record + 8, p, n)) return 0;
    memcpy(ids, record + 8 + (n + 3) / 4 * 4, head[1] * sizeof *ids);
    return head[1];
}

static void remember_record(tables *t, const uint8_t *p, size_t n, uint64_t hash, const uint32_t *ids, size_t n_ids) {
    const size_t padded = (n + 3) / 4 * 4;
    const uint32_t head[2] = {(uint32_t)n, (uint32_t)n_ids};
    uint64_t position;
    uint8_t *record = ring_room(t, 8 + padded + n_ids * sizeof *ids, &position);
    memcpy(record, head, 8);
    memcpy(record + 8, p, n);
    memcpy(record + 8 + padded, ids, n_ids * sizeof *ids);
    t->slots[hash >> 32 & t->slot_mask] = position << 24 | (hash & 0xFFFFFF);
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

enum { RING_SLACK = 16 }; /* bytes that may be read past the end of the ring */

static void tables_free(tables *t) {
    lf_pages_free(t->lines, (t->n_lines + PROBES - 1) * sizeof *t->lines);
    lf_pages_free(t->long_lines, (t->n_long + PROBES - 1) * sizeof *t->long_lines);
    lf_pages_free(t->ring, t->ring_mask + 1 + RING_SLACK);
    lf_pages_free(t->slots, (t->slot_mask + 1) * sizeof *t->slots);
}

/* Empty tables of `bytes` bytes in all, at least 64 KB: an eleventh or less for the ring, which is to be a power of two, a
 * sixth for the second table, and the rest for the first, whose size matters most. Returns 0 if there is no memory. */
static int tables_new(tables *t, size_t bytes, uint32_t largest_id) {
    const size_t n_ring = power_of_two_below(bytes / 11), n_slots = n_ring / 64, for_long = bytes / 6;
    const size_t for_lines = bytes - n_ring - n_slots * sizeof *t->slots - for_long;
    t->n_lines = for_lines / sizeof *t->lines - PROBES;
    t->n_long = for_long / sizeof *t->long_lines - PROBES;
    t->packing = packing_for(largest_id);
    t->narrow = largest_id <= UINT16_MAX;
    t->ring_mask = n_ring - 1;
    t->slot_mask = n_slots - 1;
    t->ring_head = 1 << 2; /* so that no slot in use is 0; tails stand on whole ids */
    t->lines = lf_pages_new((t->n_lines + PROBES - 1) * sizeof *t->lines);
    t->long_lines = lf_pages_new((t->n_long + PROBES - 1) * sizeof *t->long_lines);
    t->ring = lf_pages_new(n_ring + RING_SLACK);
    t->slots = lf_pages_new(n_slots * sizeof *t->slots);
    if (t->lines && t->long_lines && t->ring && t->slots) return 1;
    tables_free(t);
    return 0;
}
