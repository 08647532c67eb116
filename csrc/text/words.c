/* words.c - counting words; see words.h. */
#include "text/words.h"

#include <stdlib.h>
#include <string.h>

#include "text/pages.h"
#include "text/radix.h"
#include "text/split_run.h"
#include "text/utf8.h"

enum {
    SHORT = 15, /* bytes of a word that is its own key        */
    LONG = 255, /* the length in the key of any other         */
    BATCH = 64, /* words keyed before the first is looked for */
    FIRST_BITS = 10,
};

typedef struct {
    uint64_t key[2];
    int64_t count; /* 0: a free entry */
    uint64_t first;
} entry;

typedef struct {
    uint64_t key[2], hash;
    const uint8_t *bytes;
    size_t n;
} word;

struct lf_words {
    lf_split_fill *fill;
    lf_split split;
    const lf_unicode *unicode;
    entry *entries; /* 1 << bits */
    unsigned bits;
    size_t n_words, n_bytes;
    uint8_t *arena; /* of long words: length (8), bytes */
    size_t n_arena, arena_room;
    lf_split_run run;
    uint32_t bounds[LF_SPLIT_BATCH];
};

static size_t entries_bytes(unsigned bits) { return sizeof(entry) << bits; }
static entry *entries_new(unsigned bits) { return lf_pages_new(entries_bytes(bits)); }

lf_status lf_words_new(lf_words **words, lf_isa isa, lf_split split, const lf_unicode *unicode) {
    lf_words *w = *words = calloc(1, sizeof *w);
    if (!w) return LF_ENOMEM;
    w->fill = lf_split_fill_generic;
#if defined(__x86_64__)
    if (isa == LF_AVX2) w->fill = lf_split_fill_avx2;
    if (isa == LF_AVX512) w->fill = lf_split_fill_avx512;
#else
    (void)isa;
#endif
    w->split = split;
    w->unicode = unicode;
    w->bits = FIRST_BITS;
    w->entries = entries_new(w->bits);
    if (!w->entries) return lf_words_free(w), *words = NULL, LF_ENOMEM;
    return LF_OK;
}

void lf_words_free(lf_words *words) {
    if (!words) return;
    lf_pages_free(words->entries, entries_bytes(words->bits));
    free(words->arena);
    free(words);
}

/* Two products, so that no single value of one half makes the other half vanish. */
static inline uint64_t fold(uint64_t a, uint64_t b) {
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_pair(uint64_t a, uint64_t b) {
    return fold(a ^ 0x9E3779B97F4A7C15u, 0xD6E8FEB86659FD93u) + fold(b ^ 0xC2B2AE3D27D4EB4Fu, 0xA0761D6478BD642Fu);
}

static uint64_t hash_long(const uint8_t *p, size_t n) {
    uint64_t hash = n, half[2];
    for (size_t at = 0; at + 16 <= n; at += 16) {
        memcpy(half, p + at, 16);
        hash = hash_pair(hash ^ half[0], half[1] + (hash >> 32));
    }
    memcpy(half, p + n - 16, 16);
    return hash_pair(hash ^ half[0], half[1] + (hash >> 32));
}

#define UPTO(n)                                                                                                        \
    {(n) >= 8 ? ~(uint64_t)0 : ((uint64_t)1 << 8 * ((n) & 7)) - 1, (n) <= 8 ? 0 : ((uint64_t)1 << 8 * ((n) & 7)) - 1}
static const uint64_t KEPT[SHORT + 1][2] = {UPTO(0),  UPTO(1),  UPTO(2),  UPTO(3), UPTO(4),  UPTO(5),
                                            UPTO(6),  UPTO(7),  UPTO(8),  UPTO(9), UPTO(10), UPTO(11),
                                            UPTO(12), UPTO(13), UPTO(14), UPTO(15)};
#undef UPTO

/* The key of a word of n > 0 bytes; `end` is where the memory that it lies in ends. */
static inline void key_of(word *w, const uint8_t *p, size_t n, const uint8_t *end) {
    w->bytes = p;
    w->n = n;
    if (LF_LIKELY(n <= SHORT)) {
        uint64_t half[2] = {0, 0};
        if (LF_LIKELY(end - p >= 16)) memcpy(half, p, 16);
        else memcpy(half, p, n);
        w->key[0] = half[0] & KEPT[n][0];
        w->key[1] = (half[1] & KEPT[n][1]) | (uint64_t)n << 56;
        w->hash = hash_pair(w->key[0], w->key[1]);
    } else {
        w->key[0] = w->hash = hash_long(p, n);
        w->key[1] = (uint64_t)LONG << 56;
    }
}

static inline int is_long(const entry *e) { return e->key[1] >> 56 == LONG; }
static inline size_t place_of(const entry *e) { return (size_t)(e->key[1] & (((uint64_t)1 << 56) - 1)); }
static inline uint64_t hash_of(const entry *e) { return is_long(e) ? e->key[0] : hash_pair(e->key[0], e->key[1]); }

static inline size_t length_of(const lf_words *w, const entry *e) {
    if (!is_long(e)) return (size_t)(e->key[1] >> 56);
    uint64_t n;
    memcpy(&n, w->arena + place_of(e), sizeof n);
    return (size_t)n;
}

static lf_status grow(lf_words *w) {
    const size_t mask = ((size_t)2 << w->bits) - 1;
    entry *entries = entries_new(w->bits + 1);
    if (!entries) return LF_ENOMEM;
    for (size_t i = 0; i <= mask >> 1; i++) {
        const entry *e = &w->entries[i];
        if (!e->count) continue;
        size_t at = (size_t)hash_of(e) & mask;
        while (entries[at].count) at = (at + 1) & mask;
        entries[at] = *e;
    }
    lf_pages_free(w->entries, entries_bytes(w->bits));
    w->entries = entries;
    w->bits++;
    return LF_OK;
}

/* Room for n more bytes of long words. */
static lf_status reserve(lf_words *w, size_t n) {
    return lf_grow(&w->arena, &w->arena_room, w->n_arena + n) ? LF_OK : LF_ENOMEM;
}

static lf_status insert(lf_words *w, entry *e, const word *x, int64_t count, uint64_t first) {
    uint64_t place = 0;
    if (x->n > SHORT) {
        const uint64_t n = x->n;
        if (reserve(w, 8 + x->n) != LF_OK) return LF_ENOMEM;
        place = w->n_arena;
        memcpy(w->arena + w->n_arena, &n, 8);
        memcpy(w->arena + w->n_arena + 8, x->bytes, x->n);
        w->n_arena += 8 + x->n;
    }
    *e = (entry){{x->key[0], x->key[1] | place}, count, first};
    w->n_words++;
    w->n_bytes += x->n;
    return w->n_words > ((size_t)3 << w->bits) / 4 ? grow(w) : LF_OK;
}

static inline lf_status add(lf_words *w, const word *x, int64_t count, uint64_t first) {
    const size_t mask = ((size_t)1 << w->bits) - 1;
    for (size_t at = (size_t)x->hash & mask;; at = (at + 1) & mask) {
        entry *e = &w->entries[at];
        if (LF_UNLIKELY(!e->count)) return insert(w, e, x, count, first);
        if (e->key[0] != x->key[0]) continue;
        if (LF_LIKELY(x->n <= SHORT)) {
            if (e->key[1] != x->key[1]) continue;
        } else if (!is_long(e) || length_of(w, e) != x->n || memcmp(w->arena + place_of(e) + 8, x->bytes, x->n)) {
            continue;
        }
        if (first < e->first) e->first = first;
        return LF_UNLIKELY(__builtin_add_overflow(e->count, count, &e->count)) ? LF_EVALUE : LF_OK;
    }
}

static lf_status count_document(lf_words *w, const uint8_t *text, size_t n, const uint8_t *end, uint64_t position) {
    word batch[BATCH];
    lf_split_begin(&w->run, w->split, w->unicode, text, n);
    for (;;) {
        const lf_split_batch b = w->fill(&w->run, w->bounds);
        if (!b.n_pieces) {
            if (!b.giant) return LF_OK;
            key_of(batch, text + b.base, b.giant, end);
            const lf_status status = add(w, batch, 1, position + b.base);
            if (status != LF_OK) return status;
            continue;
        }
        for (size_t done = 0; done < b.n_pieces; done += BATCH) {
            const size_t n_words = b.n_pieces - done < BATCH ? b.n_pieces - done : BATCH;
            const uint32_t *bounds = w->bounds + done;
            const size_t mask = ((size_t)1 << w->bits) - 1;
            for (size_t i = 0; i < n_words; i++) {
                key_of(&batch[i], text + b.base + bounds[i], bounds[i + 1] - bounds[i], end);
                __builtin_prefetch(&w->entries[batch[i].hash & mask]);
            }
            for (size_t i = 0; i < n_words; i++) {
                const lf_status status = add(w, &batch[i], 1, position + b.base + bounds[i]);
                if (LF_UNLIKELY(status != LF_OK)) return status;
            }
        }
    }
}

lf_status lf_words_count(lf_words *words, const uint8_t *text, size_t n, const int64_t *spans, size_t n_spans,
                         uint64_t position, size_t *where) {
    for (size_t i = 0; i < n_spans; i++) {
        const int64_t start = spans[2 * i], stop = spans[2 * i + 1];
        if (start < 0 || stop < start || (uint64_t)stop > n) return *where = i, LF_EINDEX;
        const lf_status status =
            count_document(words, text + start, (size_t)(stop - start), text + n, position + (uint64_t)start);
        if (status != LF_OK) return *where = i, status;
    }
    return LF_OK;
}

lf_status lf_words_add(lf_words *words, const uint8_t *blob, const int64_t *offsets, const int64_t *counts,
                       const uint64_t *firsts, size_t n_words, size_t *where) {
    word batch[BATCH];
    for (size_t done = 0; done < n_words; done += BATCH) {
        const size_t n = n_words - done < BATCH ? n_words - done : BATCH, mask = ((size_t)1 << words->bits) - 1;
        size_t n_good = 0;
        for (; n_good < n; n_good++) {
            const size_t i = done + n_good;
            if (counts[i] < 1 || offsets[i + 1] <= offsets[i]) break;
            key_of(&batch[n_good], blob + offsets[i], (size_t)(offsets[i + 1] - offsets[i]), blob + offsets[n_words]);
            __builtin_prefetch(&words->entries[batch[n_good].hash & mask]);
        }
        for (size_t i = 0; i < n_good; i++) {
            const lf_status status = add(words, &batch[i], counts[done + i], firsts[done + i]);
            if (status != LF_OK) return *where = done + i, status;
        }
        if (n_good < n) return *where = done + n_good, LF_EVALUE;
    }
    return LF_OK;
}

/* Not in the order of the table: that is the order of the hashes, and would fill the beginning of the other table, one long
 * probe, before that has seen enough words to grow. */
lf_status lf_words_merge(lf_words *words, const lf_words *other) {
    const size_t mask = ((size_t)1 << other->bits) - 1, step = (size_t)0x9E3779B97F4A7C15u, ahead = 8 * step;
    for (size_t i = 0, at = 0; i <= mask; i++, at += step) {
        const entry *e = &other->entries[at & mask];
        __builtin_prefetch(&other->entries[(at + 2 * ahead) & mask]);
        const entry *soon = &other->entries[(at + ahead) & mask];
        if (soon->count) __builtin_prefetch(&words->entries[hash_of(soon) & (((size_t)1 << words->bits) - 1)]);
        if (!e->count) continue;
        word x = {{e->key[0], e->key[1]}, hash_of(e), NULL, length_of(other, e)};
        if (is_long(e)) {
            x.bytes = other->arena + place_of(e) + 8;
            x.key[1] = (uint64_t)LONG << 56;
        }
        const lf_status status = add(words, &x, e->count, e->first);
        if (status != LF_OK) return status;
    }
    return LF_OK;
}

void lf_words_clear(lf_words *words) {
    entry *entries = entries_new(FIRST_BITS);
    if (entries) {
        lf_pages_free(words->entries, entries_bytes(words->bits));
        words->entries = entries;
        words->bits = FIRST_BITS;
    } else { /* the large table will do as well */
        memset(words->entries, 0, sizeof *words->entries << words->bits);
    }
    free(words->arena);
    words->arena = NULL;
    words->n_words = words->n_bytes = words->n_arena = words->arena_room = 0;
}

size_t lf_words_memory(const lf_words *words) {
    return sizeof *words + ((size_t)1 << words->bits) * sizeof(entry) + words->arena_room;
}

size_t lf_words_size(const lf_words *words, size_t *n_bytes) {
    *n_bytes = words->n_bytes;
    return words->n_words;
}

lf_status lf_words_export(const lf_words *words, uint8_t *blob, int64_t *offsets, int64_t *counts, uint64_t *firsts,
                          int64_t *ends) {
    const size_t n = words->n_words;
    size_t n_seen = 0, at = 0;
    uint64_t most = 0;
    lf_keyed *room = malloc((2 * n + 1) * sizeof *room);
    if (!room) return LF_ENOMEM;
    for (size_t i = 0; i < (size_t)1 << words->bits; i++) {
        if (!words->entries[i].count) continue;
        room[n_seen++] = (lf_keyed){words->entries[i].first, i};
        if (words->entries[i].first > most) most = words->entries[i].first;
    }
    lf_keyed *order = lf_radix_sort(room, room + n, n, most);
    if (ends) {
        memset(ends, 0, LF_WORDS_PARTS * sizeof *ends);
        for (size_t i = 0; i < n; i++) {
            /* The highest bits of the hash: the lowest say where in the table it is. */
            order[i].key = hash_of(&words->entries[order[i].value]) >> 58;
            ends[order[i].key]++;
        }
        for (size_t i = 1; i < LF_WORDS_PARTS; i++) ends[i] += ends[i - 1];
        order = lf_radix_sort(order, order == room ? room + n : room, n, LF_WORDS_PARTS - 1);
    }
    offsets[0] = 0;
    for (size_t i = 0; i < n; i++) {
        if (i + 16 < n) __builtin_prefetch(&words->entries[order[i + 16].value]);
        const entry *e = &words->entries[order[i].value];
        const size_t length = length_of(words, e);
        if (is_long(e)) memcpy(blob + at, words->arena + place_of(e) + 8, length);
        else memcpy(blob + at, e->key, length);
        at += length;
        offsets[i + 1] = (int64_t)at;
        counts[i] = e->count;
        firsts[i] = e->first;
    }
    free(room);
    return LF_OK;
}

void lf_words_gather(const uint8_t *blob, const int64_t *offsets, const int64_t *order, size_t n_words, uint8_t *out,
                     int64_t *out_offsets) {
    int64_t at = 0;
    for (size_t i = 0; i < n_words; i++) {
        const int64_t start = offsets[order[i]], length = offsets[order[i] + 1] - start;
        out_offsets[i] = at;
        memcpy(out + at, blob + start, (size_t)length);
        at += length;
    }
    out_offsets[n_words] = at;
}

/* Where a letter or a number is followed by what is neither, nor a mark (which o200k counts to a word), nor an apostrophe
 * (which may begin a contraction): the piece before ends and a piece begins in every pattern, for no piece looks past the
 * first character that cannot belong to it, except over white space, and there is none before the cut. */
size_t lf_words_cut(lf_split split, const lf_unicode *unicode, const uint8_t *text, size_t n) {
    if (split == LF_SPLIT_NONE) return 0;
    /* Four bytes of what follows show that character whole. */
    for (size_t at = n < 4 ? 0 : n - 4; at > 0; at--) {
        uint32_t c;
        if (lf_utf8_continues(text[at]) || text[at] == '\'') continue;
        lf_utf8_read(text + at, text + n, &c);
        if (c != LF_NO_CHARACTER && lf_class_of(unicode, c) & (LF_LETTER | LF_NUMBER | LF_MARK)) continue;
        lf_utf8_read(text + lf_utf8_before(text, at), text + at, &c);
        if (c != LF_NO_CHARACTER && lf_class_of(unicode, c) & (LF_LETTER | LF_NUMBER)) return at;
    }
    return 0;
}

/* 0 for white space, 1 for a word character, 2 for another one. */
static unsigned kind_at(const lf_unicode *unicode, const uint8_t *p, const uint8_t *end, unsigned *width) {
    uint32_t c;
    *width = lf_utf8_read(p, end, &c);
    const unsigned class = c == LF_NO_CHARACTER ? 0 : lf_class_of(unicode, c);
    return class & LF_WORD ? 1u : class & LF_SPACE ? 0u : 2u;
}

size_t lf_words_whitespace(const lf_unicode *unicode, const uint8_t *text, size_t stop, size_t *at, int64_t *spans,
                           size_t n_most) {
    size_t n = 0, i = *at;
    while (i < stop && n < n_most) {
        unsigned width;
        const unsigned kind = kind_at(unicode, text + i, text + stop, &width);
        const size_t start = i;
        for (i += width; i < stop && kind_at(unicode, text + i, text + stop, &width) == kind; i += width) continue;
        if (!kind) continue;
        spans[2 * n] = (int64_t)start;
        spans[2 * n++ + 1] = (int64_t)i;
    }
    *at = i;
    return n;
}

size_t lf_words_spans(const uint8_t *text, size_t n, const uint8_t *separator, size_t n_separator, int64_t *spans,
                      size_t n_most, size_t *n_spans) {
    size_t start = 0, at = 0, found = 0;
    while (found + 1 < n_most && n - at >= n_separator) {
        const uint8_t *p = memchr(text + at, separator[0], n - at - n_separator + 1);
        if (!p) break;
        at = (size_t)(p - text);
        if (memcmp(p, separator, n_separator)) {
            at++;
            continue;
        }
        spans[2 * found] = (int64_t)start;
        spans[2 * found++ + 1] = (int64_t)at;
        start = at += n_separator;
    }
    if (n_most) {
        spans[2 * found] = (int64_t)start;
        spans[2 * found++ + 1] = (int64_t)n;
    }
    *n_spans = found;
    return start;
}
