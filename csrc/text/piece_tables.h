/* piece_tables.h - pieces and the ids they are known to have: two tables and a ring of fixed size; encode.h draws them.
 * Included by encode_body.h, since keys and hashes are made with the registers of the instruction set.
 *
 * The threads of one call share them, and nobody waits. A place in a table goes through these states, told by its tag, the
 * word that has the length; each change of a tag is one atomic step, so one thread makes it:
 *
 *     free -> claimed -> in use -> retired -> claimed -> ...
 *             written by one       read on by those who found it before
 *
 * What is in use is never changed: a thread that wants the place of another key retires it, and somebody claims it when no
 * thread can still be reading it. That is so two turns later: it is the next turn when every thread has been between two parts
 * of its work since the last (tables_pause). The ring has no states; who reads there looks again afterwards whether what
 * it read has been overwritten, and nobody takes room that a thread may still be writing to, from before the last turn.
 * A thread that is alone replaces and moves keys at once.
 *
 * Readers with vectors take a key in one load. It is all old or all new: every processor with AVX loads 16 aligned bytes at
 * once, and loads and stores of x86 keep their order, so ids that were written before a tag are there for who sees the tag.
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
    uint32_t tag; /* number of ids, length << 16 */
} __attribute__((aligned(64))) long_line;

/* How ids are packed: as many as fit into 124 bits, each with as many bits as the largest id of the vocabulary needs. An id
 * lies in four bytes, wherever it begins, so one shuffle, one shift a lane and a mask take all of them apart. */
typedef struct {
    uint8_t bytes[SHORT_IDS][4]; /* the four of each id, numbered as they lie */
    uint32_t shifts[SHORT_IDS];  /* how far it lies from the first of them    */
    uint32_t masks[SHORT_IDS];   /* all the same: its bits                    */
    unsigned bits, most;
} __attribute__((aligned(32))) packing;

/* What all threads that share tables change. The counts of turns only by one thread at a time. */
typedef struct {
    uint64_t ring_head;         /* where the next record or tail goes, counted from the beginning of all */
    uint64_t ring_limit;        /* how far it may go */
    uint64_t ring_floor;        /* where it was at the last turn */
    uint32_t turns;             /* see above; none where a thread is alone */
    uint32_t n_users, n_paused; /* threads; those that have been between parts in this turn */
    size_t n_prepared;          /* see workspace_prepare */
} __attribute__((aligned(64))) tables_common;

typedef struct {
    packing packing;
    tables_common *common;
    int shared;      /* other threads may be using the tables */
    uint32_t paused; /* the last turn in which this thread was between parts */
    short_line *lines;
    long_line *long_lines;
    uint8_t *ring;
    uint64_t *slots;             /* of records, by hash */
    size_t n_lines, n_long;      /* home lines; a few more follow for keys that are probed past the last */
    size_t ring_mask, slot_mask; /* one less than how many bytes and slots: powers of two */
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
/* Tables: finding and remembering. The finders return how many ids they wrote, 0 if the key is not there. */

/* Where a key belongs: its hash scaled to the number of lines, which need be no power of two. */
static inline size_t home_of(const tables *t, uint64_t hash) { return (hash & 0xFFFFFFFF) * t->n_lines >> 32; }
static inline size_t long_home_of(const tables *t, uint64_t hash) { return (hash >> 32) * t->n_long >> 32; }

/* Places and their tags. A tag is 0 where the place is free; the upper part of it is the length of a piece, or one of the
 * states that no length can be mistaken for. */

enum { CLAIMED = 0xFE, RETIRED = 0xFF, GRACE = 3 }; /* turns; the one that was read may have been over */

static inline uint64_t *short_tag(const key16 *place) { return (uint64_t *)(uintptr_t)place + 1; }

/* Whether a place has a key. The tag is read first: what was written before it is there then. */
static inline int has_key(const key16 *place, key16 key) {
    return __atomic_load_n(short_tag(place), __ATOMIC_ACQUIRE) == key[1] &&
           __atomic_load_n(short_tag(place) - 1, __ATOMIC_RELAXED) == key[0];
}

static inline uint32_t turn_of(const tables *t) { return __atomic_load_n(&t->common->turns, __ATOMIC_ACQUIRE); }

static uint64_t short_retired(const tables *t) { return (uint64_t)RETIRED << 56 | turn_of(t); }
static uint32_t long_retired(const tables *t) { return (uint32_t)RETIRED << 16 | (turn_of(t) & 0xFFFF); }

static int may_claim_short(const tables *t, uint64_t tag) {
    return tag == 0 || (tag >> 56 == RETIRED && (!t->shared || turn_of(t) - (uint32_t)tag >= GRACE));
}

static int may_claim_long(const tables *t, uint32_t tag) {
    return tag == 0 || (tag >> 16 == RETIRED && (!t->shared || (uint16_t)(turn_of(t) - tag) >= GRACE));
}

static int change_short(tables *t, key16 *place, uint64_t from, uint64_t to) {
    if (!t->shared) return *short_tag(place) = to, 1;
    return __atomic_compare_exchange_n(short_tag(place), &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static int change_long(tables *t, long_line *line, uint32_t from, uint32_t to) {
    if (!t->shared) return line->tag = to, 1;
    return __atomic_compare_exchange_n(&line->tag, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Room for `size` bytes in the ring, all in one stretch; *position is what at_position will know them by. NULL where a thread
 * may still be writing there. */
static uint8_t *ring_room(tables *t, size_t size, uint64_t *position) {
    uint64_t head = __atomic_load_n(&t->common->ring_head, __ATOMIC_RELAXED);
    do {
        const size_t room = t->ring_mask + 1 - (head & t->ring_mask);
        *position = size > room ? head + room : head;
        if (*position + size > __atomic_load_n(&t->common->ring_limit, __ATOMIC_RELAXED)) return NULL;
    } while (!__atomic_compare_exchange_n(&t->common->ring_head, &head, *position + size, 1, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    __atomic_thread_fence(__ATOMIC_RELEASE); /* whoever reads what is written now will see that head */
    return t->ring + (*position & t->ring_mask);
}

/* What was put there, NULL where it has been overwritten. */
static inline const uint8_t *at_position(const tables *t, uint64_t position) {
    const uint64_t head = __atomic_load_n(&t->common->ring_head, __ATOMIC_RELAXED);
    return position + t->ring_mask + 1 < head ? NULL : t->ring + (position & t->ring_mask);
}

/* Whether what has been read from there was still there. */
static inline int was_there(const tables *t, uint64_t position) {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return at_position(t, position) != NULL;
}

/* Tails: the ids of an entry that has more of them than fit, 16 bits each where no id of the vocabulary has more. The entry
 * has the position and the number instead. */

/* The position, 0 where there is no room. */
static uint64_t put_tail(tables *t, const uint32_t *ids, size_t n) {
    uint64_t position;
    uint8_t *tail = ring_room(t, (n * (t->narrow ? 2 : 4) + 3) & ~(size_t)3, &position);
    if (!tail) return 0;
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
    return LF_LIKELY(was_there(t, position)) ? n : LOST;
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
static unsigned find_short(tables *t, short_line *home, key16 key, uint32_t *ids) {
    for (size_t i = 0; i < PROBES; i++) {
        short_line *line = home + i;
        for (unsigned s = 0; s < 2; s++)
            if (has_key(&line->key[s], key)) {
                const packed found = line->ids[s];
                if (i && !t->shared) {
                    const unsigned other = t->turn++ % 2;
                    line->key[s] = home->key[other], line->ids[s] = home->ids[other];
                    home->key[other] = key, home->ids[other] = found;
                }
                const unsigned n = (unsigned)(found[1] >> COUNT_SHIFT);
                if (n == SEE_TAIL) return take_tail(t, found[0], (unsigned)(found[1] & 0xFF), ids);
                return unpack(&t->packing, &found, ids), n;
            }
        if (__atomic_load_n(short_tag(&line->key[1]), __ATOMIC_RELAXED) == 0) return 0;
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

enum { NOWHERE = 2 * PROBES };

/* Which of the places from its home line on is the key's to write to, NOWHERE for none now. A key that has one already lost
 * its tail, or another thread was faster. */
static size_t short_place(tables *t, short_line *lines, key16 key, uint64_t hash) {
    for (size_t k = 0; k < NOWHERE; k++) {
        key16 *place = &lines[k / 2].key[k % 2];
        const uint64_t tag = __atomic_load_n(short_tag(place), __ATOMIC_ACQUIRE);
        if (has_key(place, key)) {
            if (!t->shared) return k;
            const packed entry = lines[k / 2].ids[k % 2];
            if (entry[1] >> COUNT_SHIFT == SEE_TAIL && !at_position(t, entry[0]))
                change_short(t, place, tag, short_retired(t));
            return NOWHERE;
        }
        if (may_claim_short(t, tag) && change_short(t, place, tag, (uint64_t)CLAIMED << 56)) return k;
    }
    if (!comes_again(t, hash)) return NOWHERE;
    const size_t k = t->turn++ % NOWHERE;
    if (!t->shared) return k;
    key16 *place = &lines[k / 2].key[k % 2];
    const uint64_t tag = __atomic_load_n(short_tag(place), __ATOMIC_RELAXED);
    if (tag >> 56 <= SHORT_KEY) change_short(t, place, tag, short_retired(t));
    return NOWHERE;
}

static void remember_short(tables *t, key16 key, uint64_t hash, const uint32_t *ids, unsigned n) {
    short_line *line = &t->lines[home_of(t, hash)];
    const size_t k = short_place(t, line, key, hash), slot = k % 2;
    if (k == NOWHERE) return;
    line += k / 2;
    uint64_t *tag = short_tag(&line->key[slot]), tail;
    if (n <= t->packing.most) {
        line->ids[slot] = pack(&t->packing, ids, n);
    } else if ((tail = put_tail(t, ids, n))) {
        line->ids[slot] = (packed){tail, n | (uint64_t)SEE_TAIL << COUNT_SHIFT};
    } else {
        __atomic_store_n(tag, short_retired(t), __ATOMIC_RELEASE);
        return;
    }
    __atomic_store_n(tag - 1, key[0], __ATOMIC_RELAXED);
    __atomic_store_n(tag, key[1], __ATOMIC_RELEASE);
}

static inline uint64_t long_tail(const long_line *line) {
    uint64_t position;
    return memcpy(&position, line->ids, sizeof position), position;
}

static unsigned find_long(const tables *t, const long_line *line, const key32 *key, size_t length, uint32_t *ids) {
    for (size_t i = 0; i < PROBES; i++, line++) {
        const uint32_t tag = __atomic_load_n(&line->tag, __ATOMIC_ACQUIRE), n_ids = tag & 0xFFFF;
        if (tag >> 16 == length && same32(&line->key, key)) {
            if (n_ids > LONG_IDS) return take_tail(t, long_tail(line), n_ids, ids);
            return memcpy(ids, line->ids, sizeof line->ids), n_ids;
        }
        if (tag == 0) return 0;
    }
    return 0;
}

/* Like short_place. */
static long_line *long_place(tables *t, const key32 *key, size_t length, uint64_t hash) {
    long_line *lines = &t->long_lines[long_home_of(t, hash)];
    for (long_line *line = lines; line < lines + PROBES; line++) {
        const uint32_t tag = __atomic_load_n(&line->tag, __ATOMIC_ACQUIRE);
        if (tag >> 16 == length && same32(&line->key, key)) {
            if (!t->shared) return line;
            if ((tag & 0xFFFF) > LONG_IDS && !at_position(t, long_tail(line)))
                change_long(t, line, tag, long_retired(t));
            return NULL;
        }
        if (may_claim_long(t, tag) && change_long(t, line, tag, (uint32_t)CLAIMED << 16)) return line;
    }
    if (!comes_again(t, hash)) return NULL;
    long_line *line = lines + t->turn++ % PROBES;
    if (!t->shared) return line;
    const uint32_t tag = __atomic_load_n(&line->tag, __ATOMIC_RELAXED);
    if (tag >> 16 <= LONG_KEY) change_long(t, line, tag, long_retired(t));
    return NULL;
}

static void remember_long(tables *t, const key32 *key, size_t length, uint64_t hash, const uint32_t *ids, size_t n) {
    long_line *line = long_place(t, key, length, hash);
    if (!line) return;
    const uint64_t tail = n > LONG_IDS ? put_tail(t, ids, n) : 0;
    if (n > LONG_IDS && !tail) {
        __atomic_store_n(&line->tag, long_retired(t), __ATOMIC_RELEASE);
        return;
    }
    if (tail) memcpy(line->ids, &tail, sizeof tail);
    else memcpy(line->ids, ids, n * sizeof *ids);
    line->key = *key;
    __atomic_store_n(&line->tag, (uint32_t)(n | length << 16), __ATOMIC_RELEASE);
}

/* Records: longer pieces and their ids in the ring, found through slots by hash.
 *
 *     a slot: position in the ring, counted from the beginning (40 bits) | hash (24)
 *     a record: bytes of the piece (4), number of ids (4), the piece, padding to 4, the ids */
static size_t find_record(const tables *t, const uint8_t *p, size_t n, uint64_t hash, uint32_t *ids) {
    const uint64_t slot = __atomic_load_n(&t->slots[hash >> 32 & t->slot_mask], __ATOMIC_ACQUIRE);
    if ((slot ^ hash) & 0xFFFFFF || !slot) return 0;
    const uint8_t *record = at_position(t, slot >> 24);
    uint32_t head[2];
    if (!record || (memcpy(head, record, 8), head[0] != n) || memcmp(record + 8, p, n)) return 0;
    if (!was_there(t, slot >> 24)) return 0; /* or the number may be anything */
    memcpy(ids, record + 8 + (n + 3) / 4 * 4, head[1] * sizeof *ids);
    return was_there(t, slot >> 24) ? head[1] : 0;
}

static void remember_record(tables *t, const uint8_t *p, size_t n, uint64_t hash, const uint32_t *ids, size_t n_ids) {
    const size_t padded = (n + 3) / 4 * 4;
    const uint32_t head[2] = {(uint32_t)n, (uint32_t)n_ids};
    uint64_t position;
    uint8_t *record = ring_room(t, 8 + padded + n_ids * sizeof *ids, &position);
    if (!record) return;
    memcpy(record, head, 8);
    memcpy(record + 8, p, n);
    memcpy(record + 8 + padded, ids, n_ids * sizeof *ids);
    __atomic_store_n(&t->slots[hash >> 32 & t->slot_mask], position << 24 | (hash & 0xFFFFFF), __ATOMIC_RELEASE);
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

/* Bytes that may be read past the end of the ring: the ids behind a tail, or a piece where a record was overwritten. */
enum { RING_SLACK = RECORD_MOST + 16 };

static void tables_free(tables *t) {
    free(t->common);
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
    t->lines = lf_pages_new((t->n_lines + PROBES - 1) * sizeof *t->lines);
    t->long_lines = lf_pages_new((t->n_long + PROBES - 1) * sizeof *t->long_lines);
    t->ring = lf_pages_new(n_ring + RING_SLACK);
    t->slots = lf_pages_new(n_slots * sizeof *t->slots);
    t->common = aligned_alloc(64, sizeof *t->common);
    if (t->common) /* no slot in use is 0, and tails stand on whole ids */
        *t->common = (tables_common){.ring_head = 1 << 2, .ring_limit = UINT64_MAX};
    if (t->lines && t->long_lines && t->ring && t->slots && t->common) return 1;
    tables_free(t);
    return 0;
}

/* Threads that share tables. Each has a copy of `tables`; one at a time calls these. */

static void tables_turn(tables *t) {
    tables_common *c = t->common;
    if (c->n_paused < c->n_users) return;
    /* What threads are writing now begins behind the floor. */
    __atomic_store_n(&c->ring_limit, c->ring_floor + t->ring_mask + 1, __ATOMIC_RELAXED);
    c->ring_floor = __atomic_load_n(&c->ring_head, __ATOMIC_RELAXED);
    c->n_paused = 0;
    __atomic_store_n(&c->turns, c->turns + 1, __ATOMIC_RELEASE);
}

static void tables_enter(tables *t) {
    tables_common *c = t->common;
    if (c->n_users++ == 0) {
        c->ring_floor = c->ring_head;
        c->ring_limit = c->ring_head + t->ring_mask + 1;
    }
    t->shared = 1;
    t->paused = c->turns - 1;
}

/* The thread is between two parts of its work: it reads and writes nothing that it found before. */
static void tables_pause(tables *t) {
    tables_common *c = t->common;
    if (t->paused == c->turns) return;
    t->paused = c->turns;
    c->n_paused++;
    tables_turn(t);
}

static void tables_leave(tables *t) {
    tables_common *c = t->common;
    t->shared = 0;
    c->n_paused -= t->paused == c->turns;
    if (--c->n_users) tables_turn(t);
    else c->ring_limit = UINT64_MAX;
}
