/* encode_body.h - the encoder, compiled once for each instruction set; see encode.h for what it does and how it lies in
 * memory. Included by encode_<isa>.c, which names LF_ISA and LF_ISA_ID. */
#define _GNU_SOURCE /* madvise and MAP_ANONYMOUS */
#include "text/encode.h"
#include "text/normalize.h"
#include "text/piece_tables.h"
#if defined(__AVX512F__)
#include "text/merge_lanes.h"
#endif
#include "text/split_run.h"
#include "text/utf8.h"

#define LF_CAT_(a, b) a##_##b
#define LF_CAT(a, b) LF_CAT_(a, b)

enum {
    BATCH = 512,    /* pieces keyed before the first is probed */
    SMALL = 192,    /* bytes of a text that is copied to have room behind it */
    CUT_MOST = 256, /* bytes of a piece that is cut before it is keyed */
};

#if defined(__AVX512F__)
/* The pieces of a window that are not where one look finds them, and the ids of those that have been found out. */
enum { UNKNOWN_MOST = 2048 };
typedef struct {
    uint32_t piece[UNKNOWN_MOST], at[UNKNOWN_MOST], n[UNKNOWN_MOST]; /* ids[at .. at + n); n 0: not found out */
    uint32_t queue[UNKNOWN_MOST], waiting[UNKNOWN_MOST];             /* those to be merged: in order, by length */
    uint32_t n_pieces, n_waiting, n_ids, next;                       /* next: the first that is not emitted     */
    uint32_t ids[8 * UNKNOWN_MOST];
} unknown_pieces;
#endif

struct lf_text_workspace {
    const lf_text *text;
    tables tables;
    size_t n_computed;   /* pieces of the last window that no table held */
    lf_status status;    /* set where memory ran out */
    uint8_t *normalized; /* these grow to what a text needs */
    lf_bpe_scratch scratch;
    uint32_t *ids;
    size_t n_normalized, n_ids;
    uint8_t small[SMALL + 16];
    uint32_t bounds[LF_SPLIT_BATCH];                       /* of pieces, from the splitter */
    uint32_t cuts[LF_SPLIT_BATCH + CUT_MOST];              /* the same with cuts among them ... */
    uint8_t segments[(LF_SPLIT_BATCH + CUT_MOST) / 8 + 1]; /* ... and a bit for each part that is a segment */
    uint32_t at[BATCH];                                    /* the lines and the keys of a batch of them */
    key16 keys[BATCH];
#if defined(__AVX512F__)
    unknown_pieces unknown;
#endif
};

/* The slow path. A segment is a part of a piece between cuts: merging alone decides its ids, while a piece that is a
 * token may be that token though no merge makes it. */
typedef enum { PIECE, SEGMENT } part;

#if defined(__AVX512F__)
/* lf_bpe_merge for 2 to 16 bytes in registers. Lane i of `rank` is the symbol that symbols i and i + 1 form, with
 * LF_NO_SYMBOL past the end; a merge drops the lane after it from both. */
static size_t merged_16(const lf_bpe *model, const uint8_t *p, size_t n, uint32_t *ids) {
    uint32_t store[32] __attribute__((aligned(64))), *symbols = store + 8;
    for (size_t i = 0; i < 16; i++) symbols[i] = LF_NO_SYMBOL;
    for (size_t i = 0; i + 1 < n; i++) symbols[i] = model->byte_pairs[p[i] | p[i + 1] << 8];
    __m512i rank = _mm512_loadu_si512(symbols);
    uint8_t bytes[16] = {0};
    memcpy(bytes, p, n);
    __m512i symbol = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)bytes));
    for (;;) {
        const uint32_t best = _mm512_reduce_min_epu32(rank);
        if (best == LF_NO_SYMBOL) break;
        __builtin_prefetch(&model->symbol_ids[best]);
        const __m512i all = _mm512_set1_epi32((int)best);
        const unsigned at = (unsigned)__builtin_ctz(_mm512_cmpeq_epi32_mask(rank, all));
        const __mmask16 here = (__mmask16)(1u << at), kept = (__mmask16) ~(2u << at);
        symbol = _mm512_maskz_compress_epi32(kept, _mm512_mask_mov_epi32(symbol, here, all));
        rank = _mm512_mask_compress_epi32(_mm512_set1_epi32(-1), kept, rank);
        n--;
        _mm512_storeu_si512(symbols, symbol);
        if (at) lf_bpe_pair_prefetch(model, symbols[at - 1], best);
        const uint32_t next = at + 1 < n ? lf_bpe_pair(model, best, symbols[at + 1]) : LF_NO_SYMBOL;
        rank = _mm512_mask_set1_epi32(rank, here, (int)next);
        if (at) rank = _mm512_mask_set1_epi32(rank, here >> 1, (int)lf_bpe_pair(model, symbols[at - 1], best));
    }
    _mm512_storeu_si512(symbols, symbol);
    for (size_t i = 0; i < n; i++) ids[i] = model->symbol_ids[symbols[i]];
    return n;
}
#endif

static size_t merged(lf_text_workspace *w, const uint8_t *p, size_t n, uint32_t *ids) {
    const lf_bpe *model = w->text->model;
#if defined(__AVX512F__)
    if (n > 1 && n <= 16) return merged_16(model, p, n, ids);
#endif
    const size_t n_ids = lf_bpe_merge(model, p, n, ids, &w->scratch);
    if (n_ids == 0) w->status = LF_ENOMEM;
    return n_ids;
}

static size_t look_up(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, part kind, uint32_t *ids);

/* The ids of what no table holds. *keep is set to 0 where a piece and a segment of these bytes differ. */
static size_t compute(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, part kind, int *keep,
                      uint32_t *ids) {
    const lf_bpe *model = w->text->model;
    size_t start = 0, n_ids = 0;
    w->n_computed++;
    if (n > SHORT_KEY && kind == PIECE)
        for (size_t at; (at = lf_bpe_next_cut(model, p, n, start)) < n; start = at)
            n_ids += look_up(w, p + start, at - start, end, SEGMENT, ids + n_ids);
    if (start) return n_ids + look_up(w, p + start, n - start, end, SEGMENT, ids + n_ids);
    if (!model->all_form) { /* a token has no cut inside */
        const uint32_t token = lf_bpe_find(model, p, n);
        if (token != LF_NO_SYMBOL && !lf_bpe_forms(model, token)) {
            *keep = 0;
            if (kind == PIECE && model->whole_pieces) return ids[0] = model->ids[token], 1;
        }
    }
    return merged(w, p, n, ids);
}

/* Pieces too long for the tables. */
static size_t look_up_record(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, part kind,
                             uint32_t *ids) {
    int keep = 1;
    const uint64_t hash = hash_record(p, n);
    size_t n_ids = find_record(&w->tables, p, n, hash, ids);
    if (n_ids) return n_ids;
    n_ids = compute(w, p, n, end, kind, &keep, ids);
    if (keep && n_ids) remember_record(&w->tables, p, n, hash, ids, n_ids);
    return n_ids;
}

/* The ids of a piece or a segment, from a table if one holds it. */
static size_t look_up(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, part kind, uint32_t *ids) {
    int keep = 1;
    if (n > RECORD_MOST) return compute(w, p, n, end, kind, &keep, ids);
    if (n > LONG_KEY) return look_up_record(w, p, n, end, kind, ids);
    const key32 key = key32_of(p, n, end);
    const uint64_t hash = n <= SHORT_KEY ? hash16(key.half[0]) : hash32(key, n);
    size_t n_ids =
        n <= SHORT_KEY ? find_short(&w->tables, key.half[0], hash, ids) : find_long(&w->tables, &key, n, hash, ids);
    if (n_ids && n_ids != LOST) return n_ids;
    n_ids = compute(w, p, n, end, kind, &keep, ids);
    if (!keep || !n_ids) return n_ids;
    if (n <= SHORT_KEY) remember_short(&w->tables, key.half[0], hash, ids, (unsigned)n_ids);
    else remember_long(&w->tables, &key, n, hash, ids, n_ids);
    return n_ids;
}

/* How many ids, where that is all that is asked for. */
static size_t look_up_count(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, part kind) {
    w->ids = lf_grown(w->ids, &w->n_ids, (n + 8) * sizeof *w->ids, &w->status);
    return w->ids ? look_up(w, p, n, end, kind, w->ids) : 0;
}

/* Long pieces in scripts without spaces between words hardly ever come twice, but their parts do: cutting them before
 * they are keyed lets their parts be looked up like pieces. Writes the bounds with the cuts among them, marks what is a
 * segment, and returns how many parts there are. */
static size_t cut_batch(lf_text_workspace *w, const uint8_t *base, size_t n_pieces) {
    const lf_bpe *model = w->text->model;
    size_t n = 0;
    memset(w->segments, 0, sizeof w->segments);
    for (size_t i = 0; i < n_pieces; i++) {
        const size_t length = w->bounds[i + 1] - w->bounds[i];
        const uint8_t *p = base + w->bounds[i];
        w->cuts[n++] = w->bounds[i];
        if (LF_LIKELY(length <= SHORT_KEY || length > CUT_MOST)) continue;
        if (length <= LONG_KEY && p[lf_utf8_before(p, length)] < 0xE0) continue; /* a word: better kept whole */
        const size_t first = n - 1;
        n += lf_bpe_cuts(model, p, length, w->bounds[i], w->cuts + n);
        for (size_t k = first; n - first > 1 && k < n; k++) w->segments[k / 8] |= (uint8_t)(1u << k % 8);
    }
    w->cuts[n] = w->bounds[n_pieces];
    return n;
}

/* Batches. `ids` is NULL where only the number is asked for. */

static inline void prefetch_long(const lf_text_workspace *w, const uint8_t *p, size_t n) {
    if (n > SHORT_KEY && n <= LONG_KEY)
        __builtin_prefetch(&w->tables.long_lines[long_home_of(&w->tables, hash32(key32_of(p, n, p + n), n))]);
}

#if defined(__VAES__)
/* Four keys at a time: the masked load of key16_of in each quarter of a register, two AES rounds as the hash. Only for
 * pieces with 16 bytes to read. */
static inline void key_four(lf_text_workspace *w, const uint32_t *bounds, const uint8_t *base, size_t i) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)(base + bounds[i])));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(base + bounds[i + 1])), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(base + bounds[i + 2])), 2);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(base + bounds[i + 3])), 3);
    const __m128i starts = _mm_loadu_si128((const void *)(bounds + i)),
                  stops = _mm_loadu_si128((const void *)(bounds + i + 1));
    const __m128i lengths = _mm_min_epu32(_mm_sub_epi32(stops, starts), _mm_set1_epi32(SHORT_KEY + 1));
    /* Each length in all bytes of its quarter: byte 4k of `lengths` is the length of piece k. */
    const __m512i quarter = _mm512_set_epi64(0x0C0C0C0C0C0C0C0C, 0x0C0C0C0C0C0C0C0C, 0x0808080808080808,
                                             0x0808080808080808, 0x0404040404040404, 0x0404040404040404, 0, 0);
    const __m512i length = _mm512_permutexvar_epi8(quarter, _mm512_castsi128_si512(lengths));
    const __m512i index = _mm512_broadcast_i32x4(_mm_set_epi8(127, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    v = _mm512_maskz_mov_epi8(_mm512_cmplt_epi8_mask(index, length), v);
    v = _mm512_mask_mov_epi8(v, 0x8000800080008000u, length);
    _mm512_storeu_si512(w->keys + i, v);
    __m512i h = _mm512_aesenc_epi128(v, _mm512_broadcast_i32x4(AES_KEY_1));
    h = _mm512_aesenc_epi128(h, _mm512_broadcast_i32x4(AES_KEY_2));
    const __m512i firsts = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 8, 0, 4, 0, 0);
    const __m256i hashes = _mm512_castsi512_si256(_mm512_permutexvar_epi32(firsts, h));
    const __m256i lines = _mm256_mul_epu32(hashes, _mm256_set1_epi64x((long long)w->tables.n_lines)); /* home_of */
    _mm_storeu_si128((void *)(w->at + i), _mm256_cvtepi64_epi32(_mm256_srli_epi64(lines, 32)));
    for (size_t k = i; k < i + 4; k++) __builtin_prefetch(&w->tables.lines[w->at[k]]);
    const unsigned longer = _mm_cmpgt_epi32_mask(lengths, _mm_set1_epi32(SHORT_KEY));
    if (LF_UNLIKELY(longer))
        for (size_t k = i; k < i + 4; k++) prefetch_long(w, base + bounds[k], bounds[k + 1] - bounds[k]);
}
#endif

/* Piece i of a batch is base[bounds[i] .. bounds[i + 1]). */
static void key_batch(lf_text_workspace *w, const uint32_t *bounds, const uint8_t *base, const uint8_t *end,
                      size_t n_pieces) {
    size_t i = 0;
#if defined(__VAES__)
    for (; i + 4 <= n_pieces && end - (base + bounds[i + 3]) >= 16; i += 4) key_four(w, bounds, base, i);
#endif
    for (; i < n_pieces; i++) {
        const key16 key = key16_of(base + bounds[i], bounds[i + 1] - bounds[i], end);
        w->keys[i] = key;
        w->at[i] = (uint32_t)home_of(&w->tables, hash16(key));
        __builtin_prefetch(&w->tables.lines[w->at[i]]);
        prefetch_long(w, base + bounds[i], bounds[i + 1] - bounds[i]);
    }
}

/* The ids of a line that holds the key, NULL if it does not. */
static inline const ids4 *probe(const short_line *line, const key16 *key) {
#if defined(__AVX512VL__)
    static const uint8_t offset[16] = {[3] = 32, [7] = 32, [11] = 32, [15] = 32, [12] = 48, [13] = 48, [14] = 48};
    const __m256i both = _mm256_broadcastsi128_si256((__m128i)*key);
    const unsigned at = offset[_mm256_cmpeq_epi64_mask(_mm256_load_si256((const void *)line->key), both)];
    return at ? (const ids4 *)((const uint8_t *)line + at) : NULL;
#else
    if (same16(line->key[0], *key)) return &line->ids[0];
    return same16(line->key[1], *key) ? &line->ids[1] : NULL;
#endif
}

static inline part kind_of(const uint8_t *segments, size_t k) {
    return segments && segments[k / 8] >> k % 8 & 1 ? SEGMENT : PIECE;
}

#if defined(__AVX512F__)
/* Where at least one in so many bytes of a window began a piece that had to be computed, those of the next window are found
 * out together. */
enum { BYTES_A_MISS = 512 };

static void remember(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, const uint32_t *ids,
                     size_t n_ids) {
    const key32 key = key32_of(p, n, end);
    if (n <= SHORT_KEY) remember_short(&w->tables, key.half[0], hash16(key.half[0]), ids, (unsigned)n_ids);
    else remember_long(&w->tables, &key, n, hash32(key, n), ids, n_ids);
}

/* Merges up to LANES of the waiting pieces. */
static void merge_some(lf_text_workspace *w, const uint32_t *waiting, size_t n_waiting, const uint32_t *bounds,
                       const uint8_t *base, const uint8_t *end) {
    uint8_t bytes[SIDE_BY_SIDE * LANES * LANE_ROOM] __attribute__((aligned(64)));
    merging group[SIDE_BY_SIDE];
    unknown_pieces *u = &w->unknown;
    uint32_t rows = 0;
    for (int i = 0; i < SIDE_BY_SIDE; i++) group[i].n = (lanes){0};
    for (size_t k = 0; k < n_waiting; k++) {
        const uint32_t i = u->piece[waiting[k]], length = bounds[i + 1] - bounds[i];
        memcpy(bytes + k * LANE_ROOM, base + bounds[i], length);
        group[k / LANES].n[k % LANES] = length;
        if (length > rows) rows = length;
    }
    for (int i = 0; i < SIDE_BY_SIDE; i++) begin_lanes(w->text->model, &group[i], bytes + i * LANES * LANE_ROOM, rows);
    merge_lanes(w->text->model, group, rows);
    for (size_t k = 0; k < n_waiting; k++) {
        const uint32_t i = u->piece[waiting[k]], n = group[k / LANES].n[k % LANES];
        uint32_t *ids = u->ids + u->n_ids;
        for (size_t r = 0; r < n; r++) ids[r] = w->text->model->symbol_ids[group[k / LANES].symbol[r][k % LANES]];
        u->at[waiting[k]] = u->n_ids, u->n[waiting[k]] = n, u->n_ids += n;
        remember(w, base + bounds[i], bounds[i + 1] - bounds[i], end, ids, n);
    }
}

/* Whether merging alone decides the ids of a piece that no table holds. */
static int merely_merges(const lf_bpe *model, const uint8_t *p, size_t n, part kind) {
    if (n > SHORT_KEY && kind == PIECE && lf_bpe_next_cut(model, p, n, 0) < n) return 0;
    if (model->all_form) return 1;
    const uint32_t token = lf_bpe_find(model, p, n);
    return token == LF_NO_SYMBOL || lf_bpe_forms(model, token);
}

/* Merges those that wait, by length, so that the lanes of a vector end together. counts[n + 1] of them have n bytes. */
static void merge_waiting(lf_text_workspace *w, const uint32_t *bounds, const uint8_t *base, const uint8_t *end,
                          uint32_t *counts) {
    unknown_pieces *u = &w->unknown;
    for (size_t n = 1; n <= LONG_KEY; n++) counts[n] += counts[n - 1];
    for (size_t j = 0; j < u->n_waiting; j++) {
        const uint32_t k = u->queue[j], i = u->piece[k];
        u->waiting[counts[bounds[i + 1] - bounds[i]]++] = k;
    }
    for (size_t k = 0; k < u->n_waiting; k += SIDE_BY_SIDE * LANES)
        merge_some(w, u->waiting + k, u->n_waiting - k < SIDE_BY_SIDE * LANES ? u->n_waiting - k : SIDE_BY_SIDE * LANES,
                   bounds, base, end);
}

/* The pieces of a window of at most LONG_KEY bytes that one look does not find. */
static void list_unknown(lf_text_workspace *w, const uint32_t *bounds, const uint8_t *base, const uint8_t *end,
                         size_t n_pieces) {
    unknown_pieces *u = &w->unknown;
    u->n_pieces = u->n_waiting = u->n_ids = u->next = 0;
    for (size_t i = 0; i < n_pieces && u->n_pieces + BATCH <= UNKNOWN_MOST; i += BATCH) {
        const size_t m = n_pieces - i < BATCH ? n_pieces - i : BATCH;
        key_batch(w, bounds + i, base, end, m);
        for (size_t k = 0; k < m; k++) {
            u->piece[u->n_pieces] = (uint32_t)(i + k);
            u->n_pieces += !probe(&w->tables.lines[w->at[k]], &w->keys[k]);
        }
    }
}

static void find_out(lf_text_workspace *w, const uint32_t *bounds, const uint8_t *base, const uint8_t *end,
                     size_t n_pieces, const uint8_t *segments) {
    unknown_pieces *u = &w->unknown;
    uint32_t counts[LONG_KEY + 2] = {0};
    size_t room = sizeof u->ids / sizeof *u->ids;
    list_unknown(w, bounds, base, end, n_pieces);
    for (size_t k = 0; k < u->n_pieces; k++) {
        const size_t i = u->piece[k], n = bounds[i + 1] - bounds[i];
        const uint8_t *p = base + bounds[i];
        u->n[k] = 0;
        if (n > LONG_KEY || n + LONG_IDS + 1 > room) continue; /* finders write a few more */
        const key32 key = key32_of(p, n, end);
        uint32_t *ids = u->ids + u->n_ids;
        const size_t n_ids = n <= SHORT_KEY ? find_short(&w->tables, key.half[0], hash16(key.half[0]), ids)
                                            : find_long(&w->tables, &key, n, hash32(key, n), ids);
        if (n_ids && n_ids != LOST) {
            u->at[k] = u->n_ids, u->n[k] = (uint32_t)n_ids, u->n_ids += (uint32_t)n_ids;
            room -= n_ids;
        } else if (n > 1 && merely_merges(w->text->model, p, n, kind_of(segments, i))) {
            u->queue[u->n_waiting++] = (uint32_t)k;
            counts[n + 1]++;
            room -= n;
        }
    }
    merge_waiting(w, bounds, base, end, counts);
}
#endif

/* The ids of piece i of a window, which one look does not find. */
static __attribute__((noinline)) size_t emit_other(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end,
                                                   part kind, size_t i, uint32_t *ids) {
#if defined(__AVX512F__)
    unknown_pieces *u = &w->unknown;
    for (; u->next < u->n_pieces && u->piece[u->next] <= i; u->next++)
        if (u->piece[u->next] == i && u->n[u->next]) {
            if (ids) memcpy(ids, u->ids + u->at[u->next], u->n[u->next] * sizeof *ids);
            return u->n[u->next];
        }
#else
    (void)i;
#endif
    return ids ? look_up(w, p, n, end, kind, ids) : look_up_count(w, p, n, end, kind);
}

static inline size_t emit_batch(lf_text_workspace *w, const uint32_t *bounds, const uint8_t *base, const uint8_t *end,
                                size_t n_pieces, const uint8_t *segments, size_t first, uint32_t *ids) {
    size_t n_ids = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        const ids4 *found = probe(&w->tables.lines[w->at[i]], &w->keys[i]);
        const unsigned n_found = found ? (*found)[3] >> COUNT_SHIFT : SEE_TAIL;
        if (LF_LIKELY(n_found != SEE_TAIL)) {
            if (ids) take_four(*found, ids + n_ids);
            n_ids += n_found;
            continue;
        }
        const unsigned n_tail = found ? take_tail(&w->tables, (const uint32_t *)found, ids ? ids + n_ids : NULL) : LOST;
        if (n_tail != LOST) {
            n_ids += n_tail;
            continue;
        }
        n_ids += emit_other(w, base + bounds[i], bounds[i + 1] - bounds[i], end, kind_of(segments, first + i),
                            first + i, ids ? ids + n_ids : NULL);
    }
    return n_ids;
}

/* Plain text: no added token in it, already normalized. */
static size_t plain(lf_text_workspace *w, const uint8_t *text, size_t n, uint32_t *ids) {
    const uint8_t *end = text + n;
    size_t n_ids = 0;
    if (n <= SMALL) { /* a copy with room behind it, so that every key can be loaded whole */
        memcpy(w->small, text, n);
        text = w->small;
        end = w->small + sizeof w->small;
    }
    lf_split_run run;
    lf_split_begin(&run, w->text->split, w->text->unicode, text, n);
    for (;;) {
        const lf_split_batch batch = LF_CAT(lf_split_fill, LF_ISA)(&run, w->bounds);
        const uint8_t *base = text + batch.base, *segments = NULL;
        const uint32_t *bounds = w->bounds;
        size_t n_parts = batch.n_pieces;
        if (batch.beyond_ascii) n_parts = cut_batch(w, base, n_parts), bounds = w->cuts, segments = w->segments;
#if defined(__AVX512F__)
        const size_t n_bytes = bounds[n_parts] - bounds[0];
        w->unknown.n_pieces = w->unknown.n_waiting = 0;
        if (w->n_computed * BYTES_A_MISS > n_bytes) find_out(w, bounds, base, end, n_parts, segments);
        w->n_computed = w->unknown.n_waiting;
#endif
        for (size_t i = 0; i < n_parts; i += BATCH) {
            const size_t m = n_parts - i < BATCH ? n_parts - i : BATCH;
            key_batch(w, bounds + i, base, end, m);
            n_ids += ids ? emit_batch(w, bounds + i, base, end, m, segments, i, ids + n_ids)
                         : emit_batch(w, bounds + i, base, end, m, segments, i, NULL);
        }
        if (LF_UNLIKELY(batch.giant))
            n_ids += ids ? look_up(w, base, batch.giant, end, PIECE, ids + n_ids)
                         : look_up_count(w, base, batch.giant, end, PIECE);
        else if (batch.n_pieces == 0) return n_ids;
    }
}

/* Calls `rest` on what lies between added tokens and takes their ids. */
typedef size_t stretch(lf_text_workspace *w, const uint8_t *text, size_t n, lf_allowed allowed, uint32_t *ids);

static inline size_t around_added(lf_text_workspace *w, const lf_added *added, const uint8_t *bits, const uint8_t *text,
                                  size_t n, lf_allowed allowed, uint32_t *ids, stretch *rest) {
    size_t n_ids = 0, done = 0, from = 0;
    lf_added_match match = {0};
    while (added && (bits || added->n_plain) &&
           lf_added_next(added, w->text->unicode, text, n, from, done, bits, &match)) {
        if (match.start > done) n_ids += rest(w, text + done, match.start - done, allowed, ids ? ids + n_ids : NULL);
        if (ids) ids[n_ids] = match.id;
        n_ids++;
        done = match.stop;
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
        w->normalized = lf_grown(w->normalized, &w->n_normalized, lf_nfc_bound(n), &w->status);
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
        n += look_up(w, bytes + start, (size_t)ends[i] - start, end, PIECE, ids + n);
    return finish(w, n, n_ids);
}

/* Puts tokens into the tables before they are asked for: each that forms is its own id, with no need to merge. Those that
 * begin with a small letter are left out: they hardly ever are whole pieces, and the tables have better use. */
static void seed(lf_text_workspace *w) {
    const lf_bpe *m = w->text->model;
    const uint8_t *end = m->blob + m->offsets[m->n_tokens];
    enum { AHEAD = 16 }; /* tokens between fetching a line and writing to it */
    for (uint32_t t = 0; t < m->n_tokens + AHEAD; t++)
        for (int write = 0; write < 2; write++) {
            const uint32_t k = t - (write ? AHEAD : 0);
            if (k >= m->n_tokens) continue; /* before the first one too */
            const uint8_t *p = m->blob + m->offsets[k];
            const size_t n = (size_t)(m->offsets[k + 1] - m->offsets[k]);
            if (n > LONG_KEY || !lf_bpe_forms(m, k) || (*p >= 'a' && *p <= 'z' && n > 3)) continue;
            const key32 key = key32_of(p, n, end);
            const uint64_t hash = n <= SHORT_KEY ? hash16(key.half[0]) : hash32(key, n);
            if (!write && n <= SHORT_KEY) __builtin_prefetch(&w->tables.lines[home_of(&w->tables, hash)], 1);
            else if (!write) __builtin_prefetch(&w->tables.long_lines[long_home_of(&w->tables, hash)], 1);
            else if (n <= SHORT_KEY) remember_short(&w->tables, key.half[0], hash, &m->ids[k], 1);
            else remember_long(&w->tables, &key, n, hash, &m->ids[k], 1);
        }
}

static void workspace_free(lf_text_workspace *w) {
    if (!w) return;
    tables_free(&w->tables);
    free(w->normalized), free(w->scratch.buffer), free(w->ids);
    free(w);
}

static lf_status workspace_new(lf_text_workspace **workspace, const lf_text *text, size_t cache_bytes) {
    *workspace = NULL;
    lf_text_workspace *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
    if (!w) return LF_ENOMEM;
    memset(w, 0, sizeof *w);
    w->text = text;
    uint32_t largest = 0;
    for (size_t t = 0; t < text->model->n_tokens; t++)
        if (text->model->ids[t] > largest) largest = text->model->ids[t];
    if (!tables_new(&w->tables, cache_bytes, largest)) return free(w), LF_ENOMEM;
    seed(w);
    *workspace = w;
    return LF_OK;
}

const lf_text_ops LF_CAT(lf_text, LF_ISA) = {LF_ISA_ID, workspace_new, workspace_free, encode, count, encode_pieces};
