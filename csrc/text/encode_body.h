/* encode_body.h - the encoder, compiled once for each instruction set; see encode.h for what it does and how it lies in
 * memory. Included by encode_<isa>.c, which names LF_ISA and LF_ISA_ID. */
#define _GNU_SOURCE /* madvise and MAP_ANONYMOUS */
#include <stdlib.h>
#include <string.h>

#include "text/encode.h"
#include "text/normalize.h"
#include "text/utf8.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define LF_CAT_(a, b) a##_##b
#define LF_CAT(a, b) LF_CAT_(a, b)

enum {
    BATCH = 1024,      /* pieces keyed before the first is probed */
    PROBES = 4,        /* lines a key may stand in */
    SHORT_KEY = 15,    /* bytes of a piece in the first table */
    LONG_KEY = 31,     /* ... and in the second */
    SHORT_IDS = 4,     /* ids of a piece in the first table */
    LONG_IDS = 7,      /* ... and in the second */
    GIANT = 1u << 30,  /* a piece longer than this is not put into a batch: offsets there have 32 bits */
    COUNT_SHIFT = 28,  /* the top four bits of a line's last id hold how many there are */
    ID_MASK = (1 << COUNT_SHIFT) - 1,
};

typedef uint64_t key16 __attribute__((vector_size(16)));
typedef struct {
    uint64_t part[4];
} key32;
typedef uint32_t ids4 __attribute__((vector_size(16)));

typedef struct {
    key16 key[2];
    ids4 ids[2];
} __attribute__((aligned(64))) short_line;

typedef struct {
    key32 key;
    uint32_t ids[LONG_IDS], n_ids;
} __attribute__((aligned(64))) long_line;

struct lf_text_workspace {
    const lf_text *text;
    short_line *lines;
    long_line *long_lines;
    size_t line_mask, long_mask;
    size_t lines_bytes, long_bytes;
    uint32_t victim;      /* counts replacements: which slot goes next */
    int cached_segments;  /* a cut-off part of a piece has the ids that it has as a piece */
    lf_status status;     /* set where memory ran out */
    uint8_t *normalized;  /* these grow to what a text needs */
    void *merge_scratch;
    uint32_t *ids;
    size_t n_normalized, n_merge_scratch, n_ids;
    uint32_t bounds[BATCH + 1]; /* of the pieces of a batch: piece i is [bounds[i], bounds[i + 1]) */
    uint32_t at[BATCH];         /* their lines */
    key16 keys[BATCH];
};

/* Memory in whole large pages, advised before it is touched, so that a table costs few faults and few page walks. */
static void *pages_new(size_t n) {
#if defined(__linux__)
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    madvise(p, n, MADV_HUGEPAGE);
    return p;
#else
    void *p = aligned_alloc(64, n);
    return p ? memset(p, 0, n) : NULL;
#endif
}

static void pages_free(void *p, size_t n) {
    if (!p) return;
#if defined(__linux__)
    munmap(p, n);
#else
    (void)n;
    free(p);
#endif
}

/* Grows a buffer to at least n bytes; its contents are lost. NULL and status LF_ENOMEM if there is no memory. */
static void *grown(lf_text_workspace *w, void *buffer, size_t *have, size_t n) {
    if (n <= *have) return buffer;
    free(buffer);
    n += n / 4;
    buffer = malloc(n);
    *have = buffer ? n : 0;
    if (!buffer) w->status = LF_ENOMEM;
    return buffer;
}

/* Keys. */

static inline key16 key16_of(const uint8_t *p, size_t n, const uint8_t *end) {
    const unsigned length = n > SHORT_KEY ? SHORT_KEY + 1 : (unsigned)n;
    key16 key = {0};
    if (LF_LIKELY(end - p >= 16)) memcpy(&key, p, 16);
    else memcpy(&key, p, (size_t)(end - p));
    const unsigned bits = length > SHORT_KEY ? 120 : 8 * length;
    key[0] &= bits >= 64 ? ~0ull : (1ull << bits) - 1;
    key[1] &= bits <= 64 ? 0 : (1ull << (bits - 64)) - 1;
    key[1] |= (uint64_t)length << 56;
    return key;
}

static inline key32 key32_of(const uint8_t *p, size_t n) {
    uint8_t bytes[32] = {0};
    memcpy(bytes, p, n);
    bytes[31] = (uint8_t)n;
    key32 key;
    memcpy(&key, bytes, 32);
    return key;
}

static inline uint64_t mix(uint64_t a, uint64_t b) {
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash16(key16 key) {
    return mix(key[0] ^ 0x9E3779B97F4A7C15u, key[1] ^ 0xC2B2AE3D27D4EB4Fu);
}

static inline uint64_t hash32(key32 key) {
    return mix(key.part[0] ^ 0x9E3779B97F4A7C15u, key.part[1] ^ 0xC2B2AE3D27D4EB4Fu) ^
           mix(key.part[2] ^ 0x165667B19E3779F9u, key.part[3] ^ 0x27D4EB2F165667C5u);
}

static inline int same16(key16 a, key16 b) { return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0; }
static inline int same32(key32 a, key32 b) {
    return ((a.part[0] ^ b.part[0]) | (a.part[1] ^ b.part[1]) | (a.part[2] ^ b.part[2]) | (a.part[3] ^ b.part[3])) == 0;
}
static inline int is_free(const key16 *key) { return (*key)[1] == 0; } /* a key has its length in the top byte */

/* Tables: finding and remembering. The finders return how many ids they wrote, 0 if the key is not there. */

static inline unsigned take4(ids4 line, uint32_t *ids) {
    const unsigned n = line[3] >> COUNT_SHIFT;
    line &= (uint32_t)ID_MASK;
    memcpy(ids, &line, sizeof line);
    return n;
}

static unsigned find_short(const lf_text_workspace *w, key16 key, uint64_t hash, uint32_t *ids) {
    for (size_t i = 0; i < PROBES; i++) {
        const short_line *line = &w->lines[(hash + i) & w->line_mask];
        for (int s = 0; s < 2; s++)
            if (same16(line->key[s], key)) return take4(line->ids[s], ids);
        if (is_free(&line->key[1])) return 0;
    }
    return 0;
}

static void remember_short(lf_text_workspace *w, key16 key, uint64_t hash, const uint32_t *ids, unsigned n) {
    size_t i = 0;
    unsigned slot = 0;
    for (; i < PROBES; i++) {
        const short_line *line = &w->lines[(hash + i) & w->line_mask];
        if (is_free(&line->key[slot = 0]) || is_free(&line->key[slot = 1])) break;
    }
    if (i == PROBES) i = w->victim / 2 % PROBES, slot = w->victim++ % 2;
    short_line *line = &w->lines[(hash + i) & w->line_mask];
    line->key[slot] = key;
    line->ids[slot] = (ids4){ids[0], n > 1 ? ids[1] : 0, n > 2 ? ids[2] : 0, (n > 3 ? ids[3] : 0) | n << COUNT_SHIFT};
}

static unsigned find_long(const lf_text_workspace *w, key32 key, uint64_t hash, uint32_t *ids) {
    for (size_t i = 0; i < PROBES; i++) {
        const long_line *line = &w->long_lines[(hash + i) & w->long_mask];
        if (same32(line->key, key)) {
            for (unsigned k = 0; k < line->n_ids; k++) ids[k] = line->ids[k];
            return line->n_ids;
        }
        if (line->n_ids == 0) return 0;
    }
    return 0;
}

static void remember_long(lf_text_workspace *w, key32 key, uint64_t hash, const uint32_t *ids, unsigned n) {
    size_t i = 0;
    while (i < PROBES && w->long_lines[(hash + i) & w->long_mask].n_ids) i++;
    if (i == PROBES) i = w->victim++ % PROBES;
    long_line *line = &w->long_lines[(hash + i) & w->long_mask];
    line->key = key;
    memcpy(line->ids, ids, n * sizeof *ids);
    line->n_ids = n;
}

/* The slow path. */

static size_t merged(lf_text_workspace *w, const uint8_t *p, size_t n, uint32_t *ids) {
    const lf_bpe *model = w->text->model;
    const size_t scratch = lf_bpe_scratch_bytes(model, n);
    w->merge_scratch = grown(w, w->merge_scratch, &w->n_merge_scratch, scratch);
    if (scratch && !w->merge_scratch) return 0;
    return lf_bpe_merge(model, p, n, ids, w->merge_scratch);
}

/* The ids of part of a piece, which merging alone decides. */
static size_t segment_ids(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, uint32_t *ids) {
    if (n > LONG_KEY || !w->cached_segments) return merged(w, p, n, ids);
    size_t n_ids;
    if (n <= SHORT_KEY) {
        const key16 key = key16_of(p, n, end);
        const uint64_t hash = hash16(key);
        if ((n_ids = find_short(w, key, hash, ids))) return n_ids;
        n_ids = merged(w, p, n, ids);
        if (n_ids <= SHORT_IDS) remember_short(w, key, hash, ids, (unsigned)n_ids);
    } else {
        const key32 key = key32_of(p, n);
        const uint64_t hash = hash32(key);
        if ((n_ids = find_long(w, key, hash, ids))) return n_ids;
        n_ids = merged(w, p, n, ids);
        if (n_ids <= LONG_IDS) remember_long(w, key, hash, ids, (unsigned)n_ids);
    }
    return n_ids;
}

/* The ids of a piece that no table holds. */
static size_t piece_ids(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, uint32_t *ids) {
    const lf_bpe *model = w->text->model;
    if (model->whole_pieces) {
        const uint32_t token = lf_bpe_find(model, p, n);
        if (token != LF_NO_SYMBOL) return ids[0] = model->ids[token], 1;
    }
    if (n <= SHORT_KEY) return merged(w, p, n, ids);
    size_t start = 0, n_ids = 0, before = 0;
    uint32_t c;
    for (size_t at = lf_utf8_read(p, p + n, &c); at < n;) {
        if (lf_bpe_may_cut(model, p, n, before, at)) {
            n_ids += segment_ids(w, p + start, at - start, end, ids + n_ids);
            start = at;
        }
        before = at;
        at += lf_utf8_read(p + at, p + n, &c);
    }
    if (start == 0) return merged(w, p, n, ids);
    return n_ids + segment_ids(w, p + start, n - start, end, ids + n_ids);
}

/* The ids of a piece that is not in its home line. */
static size_t slow_piece(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, uint32_t *ids) {
    if (n > LONG_KEY) return piece_ids(w, p, n, end, ids);
    size_t n_ids;
    const key16 key = key16_of(p, n, end);
    const uint64_t hash = hash16(key);
    if (n <= SHORT_KEY && (n_ids = find_short(w, key, hash, ids))) return n_ids;
    const key32 long_key = key32_of(p, n);
    const uint64_t long_hash = hash32(long_key);
    if ((n_ids = find_long(w, long_key, long_hash, ids))) return n_ids;
    n_ids = piece_ids(w, p, n, end, ids);
    if (n <= SHORT_KEY && n_ids <= SHORT_IDS) remember_short(w, key, hash, ids, (unsigned)n_ids);
    else if (n_ids <= LONG_IDS) remember_long(w, long_key, long_hash, ids, (unsigned)n_ids);
    return n_ids;
}

/* A piece's ids where only their number is asked for. */
static size_t slow_count(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end) {
    w->ids = grown(w, w->ids, &w->n_ids, (n + 8) * sizeof *w->ids);
    return w->ids ? slow_piece(w, p, n, end, w->ids) : 0;
}

/* Batches. `ids` is NULL where only the number is asked for. */

static void key_batch(lf_text_workspace *w, const uint8_t *base, const uint8_t *end, size_t n_pieces) {
    for (size_t i = 0; i < n_pieces; i++) {
        const key16 key = key16_of(base + w->bounds[i], w->bounds[i + 1] - w->bounds[i], end);
        w->keys[i] = key;
        w->at[i] = (uint32_t)(hash16(key) & w->line_mask);
        __builtin_prefetch(&w->lines[w->at[i]]);
    }
}

static inline size_t emit_batch(lf_text_workspace *w, const uint8_t *base, const uint8_t *end, size_t n_pieces,
                                uint32_t *ids) {
    size_t n_ids = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        const short_line *line = &w->lines[w->at[i]];
        const key16 key = w->keys[i];
        const int slot = same16(line->key[1], key);
        if (LF_LIKELY(slot || same16(line->key[0], key))) {
            if (ids) n_ids += take4(line->ids[slot], ids + n_ids);
            else n_ids += line->ids[slot][3] >> COUNT_SHIFT;
        } else {
            const uint8_t *p = base + w->bounds[i];
            const size_t n = w->bounds[i + 1] - w->bounds[i];
            n_ids += ids ? slow_piece(w, p, n, end, ids + n_ids) : slow_count(w, p, n, end);
        }
    }
    return n_ids;
}

static size_t run_batch(lf_text_workspace *w, const uint8_t *base, const uint8_t *end, size_t n_pieces, uint32_t *ids) {
    key_batch(w, base, end, n_pieces);
    return ids ? emit_batch(w, base, end, n_pieces, ids) : emit_batch(w, base, end, n_pieces, NULL);
}

/* Plain text: no added token in it, already normalized. */
static size_t plain(lf_text_workspace *w, const uint8_t *text, size_t n, uint32_t *ids) {
    const lf_text *t = w->text;
    const uint8_t *end = text + n;
    size_t at = 0, n_ids = 0;
    while (at < n) {
        const uint8_t *base = text + at;
        size_t n_pieces = 0;
        w->bounds[0] = 0;
        size_t giant = 0;
        while (n_pieces < BATCH && at < n) {
            const size_t stop = lf_split_next(t->split, t->unicode, text, n, at);
            if (LF_UNLIKELY(stop - at > GIANT)) {
                giant = stop - at;
                break;
            }
            at = stop;
            w->bounds[++n_pieces] = (uint32_t)(text + at - base);
            if (LF_UNLIKELY(w->bounds[n_pieces] > GIANT)) break;
        }
        n_ids += run_batch(w, base, end, n_pieces, ids ? ids + n_ids : NULL);
        if (LF_UNLIKELY(giant)) {
            n_ids += ids ? slow_piece(w, text + at, giant, end, ids + n_ids) : slow_count(w, text + at, giant, end);
            at += giant;
        }
    }
    return n_ids;
}

/* Calls `rest` on what lies between added tokens and takes their ids. */
typedef size_t stretch(lf_text_workspace *w, const uint8_t *text, size_t n, lf_allowed allowed, uint32_t *ids);

static inline size_t around_added(lf_text_workspace *w, const lf_added *added, const uint8_t *bits, const uint8_t *text,
                                  size_t n, lf_allowed allowed, uint32_t *ids, stretch *rest) {
    size_t n_ids = 0, done = 0, from = 0;
    lf_added_match match;
    while (added && lf_added_next(added, w->text->unicode, text, n, from, done, bits, &match)) {
        if (match.start > done)
            n_ids += rest(w, text + done, match.start - done, allowed, ids ? ids + n_ids : NULL);
        if (ids) ids[n_ids] = match.id;
        n_ids++;
        if (match.stop > done) done = match.stop;
        from = match.resume;
    }
    if (done < n) n_ids += rest(w, text + done, n - done, allowed, ids ? ids + n_ids : NULL);
    return n_ids;
}

static size_t after_normalized(lf_text_workspace *w, const uint8_t *text, size_t n, lf_allowed allowed, uint32_t *ids) {
    (void)allowed;
    return plain(w, text, n, ids);
}

static size_t after_raw(lf_text_workspace *w, const uint8_t *text, size_t n, lf_allowed allowed, uint32_t *ids) {
    if (w->text->nfc && lf_nfc_prefix(text, n) < n) {
        w->normalized = grown(w, w->normalized, &w->n_normalized, lf_nfc_bound(n));
        if (!w->normalized) return 0;
        n = lf_nfc(text, n, w->normalized);
        text = w->normalized;
    }
    return around_added(w, w->text->added_normalized, allowed.normalized, text, n, allowed, ids, after_normalized);
}

static lf_status finish(lf_text_workspace *w, size_t n, size_t *n_ids) {
    const lf_status status = w->status;
    w->status = LF_OK;
    *n_ids = n;
    return status;
}

static lf_status encode(lf_text_workspace *w, const uint8_t *document, size_t n, lf_allowed allowed, uint32_t *ids,
                        size_t *n_ids) {
    return finish(w, around_added(w, w->text->added_raw, allowed.raw, document, n, allowed, ids, after_raw), n_ids);
}

static lf_status count(lf_text_workspace *w, const uint8_t *document, size_t n, lf_allowed allowed, size_t *n_ids) {
    return finish(w, around_added(w, w->text->added_raw, allowed.raw, document, n, allowed, NULL, after_raw), n_ids);
}

static lf_status encode_pieces(lf_text_workspace *w, const uint8_t *bytes, const int64_t *ends, size_t n_pieces,
                               uint32_t *ids, size_t *n_ids) {
    size_t n = 0, start = 0;
    const uint8_t *end = bytes + (n_pieces ? ends[n_pieces - 1] : 0);
    for (size_t i = 0; i < n_pieces; start = (size_t)ends[i++])
        n += slow_piece(w, bytes + start, (size_t)ends[i] - start, end, ids + n);
    return finish(w, n, n_ids);
}

static size_t power_of_two_below(size_t n) {
    size_t p = 1;
    while (2 * p <= n) p *= 2;
    return p;
}

static void workspace_free(lf_text_workspace *w) {
    if (!w) return;
    pages_free(w->lines, w->lines_bytes);
    pages_free(w->long_lines, w->long_bytes);
    free(w->normalized), free(w->merge_scratch), free(w->ids);
    free(w);
}

static lf_status workspace_new(lf_text_workspace **workspace, const lf_text *text, size_t cache_bytes) {
    *workspace = NULL;
    lf_text_workspace *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
    if (!w) return LF_ENOMEM;
    memset(w, 0, sizeof *w);
    w->text = text;
    w->cached_segments = text->model->all_form || !text->model->whole_pieces;
    const size_t n_lines = power_of_two_below(cache_bytes / 64 * 2 / 3);
    w->line_mask = n_lines - 1;
    w->long_mask = n_lines / 2 - 1;
    w->lines = pages_new(w->lines_bytes = n_lines * sizeof *w->lines);
    w->long_lines = pages_new(w->long_bytes = n_lines / 2 * sizeof *w->long_lines);
    if (!w->lines || !w->long_lines) return workspace_free(w), LF_ENOMEM;
    const lf_bpe *m = text->model;
    uint32_t ids[64];
    for (size_t t = 0; t < m->n_tokens; t++) {
        const uint8_t *p = m->blob + m->offsets[t];
        const size_t n = (size_t)(m->offsets[t + 1] - m->offsets[t]);
        if (n <= LONG_KEY) slow_piece(w, p, n, p + n, ids);
    }
    *workspace = w;
    return LF_OK;
}

const lf_text_ops LF_CAT(lf_text, LF_ISA) = {LF_ISA_ID, workspace_new, workspace_free, encode, count, encode_pieces};
