/* encode_body.h - the encoder, compiled once for each instruction set; see encode.h for what it does and how it lies in
 * memory. Included by encode_<isa>.c, which names LF_ISA and LF_ISA_ID. */
#define _GNU_SOURCE /* madvise and MAP_ANONYMOUS */
#include "text/encode.h"
#if defined(__AVX512VBMI2__)
#include "text/cut_blocks.h"
#endif
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
/* Pieces that no table holds, put off until there are some to be merged side by side; their ids then go into gaps between
 * those that have been written. They come from all texts of a call. */
enum {
    DELAYED_ENOUGH = 256, /* so many fill their lanes */
    DELAYED_MOST = DELAYED_ENOUGH + BATCH,
    DELAYED_SLOTS = 1024,
    DELAYED_IDS = 32768, /* so many, written since the first, are to move: they should not leave the cache */
};
typedef struct {
    uint8_t bytes[32];
    int64_t *count;        /* of the text's ids                                     */
    uint32_t n_bytes, at;  /* at: how many ids were written before it               */
    uint32_t first;        /* the first of those with the same bytes                */
    uint32_t begin, n_ids; /* of a first one: its ids are ids[begin .. begin + n_ids) */
} delayed_piece;

typedef struct {
    uint32_t n_pieces, n_ids;
    size_t start; /* how many ids were written before those that the places of pieces count */
    delayed_piece pieces[DELAYED_MOST];
    uint32_t by_length[DELAYED_MOST]; /* the first ones                                   */
    uint16_t slots[DELAYED_SLOTS];    /* by hash: one more than the number of a first one */
    uint32_t ids[DELAYED_MOST * LONG_KEY];
} delayed_pieces;
#endif

struct lf_text_workspace {
    const lf_text *text;
    tables tables;
    int joined;          /* the tables are another workspace's */
    lf_status status;    /* set where memory ran out */
    uint32_t *out;       /* the ids of the texts of a call; NULL where only their number is asked for */
    size_t n_out;        /* how many there are so far, without those of delayed pieces */
    size_t n_caught;     /* of these, how many had been delayed */
    int64_t *count;      /* of the text's ids */
    uint8_t *normalized; /* these grow to what a text needs */
    lf_bpe_scratch scratch;
    uint32_t *ids;
    size_t n_normalized, n_ids;
    uint8_t unformed[1 << 11]; /* a bit by hash: a token with that hash does not form, and the model is to be asked */
    uint8_t small[SMALL + 16];
    uint32_t bounds[LF_SPLIT_BATCH];                      /* of pieces, from the splitter */
    uint32_t cuts[LF_SPLIT_BATCH + CUT_MOST];             /* the same with cuts among them ... */
    uint64_t inner[(LF_SPLIT_BATCH + CUT_MOST) / 64 + 1]; /* ... and a bit for each bound that is a cut */
    /* The home lines and the keys of a batch of them. Stores of several across cache lines cost a fifth of the keying. The
     * first half of the key of a piece of 16 to 31 bytes is the address of its line in the second table. */
    short_line *homes[BATCH] __attribute__((aligned(64)));
    key16 keys[BATCH] __attribute__((aligned(64)));
#if defined(__AVX512VBMI2__)
    uint64_t starts[LF_SPLIT_BLOCKS]; /* of pieces, where the splitter gives words instead of bounds */
#endif
#if defined(__AVX512F__)
    delayed_pieces delayed;
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
        if (at) lf_pairs_prefetch(&model->pairs, symbols[at - 1], best);
        const uint32_t next = at + 1 < n ? lf_pairs_find(&model->pairs, best, symbols[at + 1]) : LF_NO_SYMBOL;
        rank = _mm512_mask_set1_epi32(rank, here, (int)next);
        if (at)
            rank = _mm512_mask_set1_epi32(rank, here >> 1, (int)lf_pairs_find(&model->pairs, symbols[at - 1], best));
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

static inline size_t unformed_bit(const lf_text_workspace *w, const uint8_t *p, size_t n) {
    return hash_record(p, n) % (8 * sizeof w->unformed);
}

/* The token with these bytes if merging does not form it; else LF_NO_SYMBOL. */
static uint32_t unformed_token(const lf_text_workspace *w, const uint8_t *p, size_t n) {
    const lf_bpe *model = w->text->model;
    if (model->all_form || n > model->longest) return LF_NO_SYMBOL;
    const size_t bit = unformed_bit(w, p, n);
    if (!(w->unformed[bit / 8] >> bit % 8 & 1)) return LF_NO_SYMBOL;
    const uint32_t token = lf_bpe_find(model, p, n);
    return token == LF_NO_SYMBOL || lf_bpe_forms(model, token) ? LF_NO_SYMBOL : token;
}

/* The ids of what no table holds. *keep is set to 0 where a piece and a segment of these bytes differ. */
static size_t compute(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, part kind, int *keep,
                      uint32_t *ids) {
    const lf_bpe *model = w->text->model;
    size_t start = 0, n_ids = 0;
    if (n > SHORT_KEY && kind == PIECE)
        for (size_t at; (at = lf_bpe_next_cut(model, p, n, start)) < n; start = at)
            n_ids += look_up(w, p + start, at - start, end, SEGMENT, ids + n_ids);
    if (start) return n_ids + look_up(w, p + start, n - start, end, SEGMENT, ids + n_ids);
    const uint32_t token = unformed_token(w, p, n); /* a token has no cut inside */
    if (token != LF_NO_SYMBOL) {
        *keep = 0;
        if (kind == PIECE && model->whole_pieces) return ids[0] = model->ids[token], 1;
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

/* The ids of a piece of at most LONG_KEY bytes, if a table holds it; else 0. */
static size_t find(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, uint32_t *ids) {
    tables *t = &w->tables;
    const key32 key = key32_of(p, n, end);
    const size_t n_ids = n <= SHORT_KEY ? find_short(t, &t->lines[home_of(t, hash16(key.half[0]))], key.half[0], ids)
                                        : find_long(t, &t->long_lines[long_home_of(t, hash32(key, n))], &key, n, ids);
    return n_ids == LOST ? 0 : n_ids;
}

/* The same for piece i of a batch, whose home is known. */
static size_t find_keyed(lf_text_workspace *w, size_t i, const uint8_t *p, size_t n, uint32_t *ids) {
    size_t n_ids;
    if (n <= SHORT_KEY) {
        n_ids = find_short(&w->tables, w->homes[i], w->keys[i], ids);
    } else {
        const key32 key = key32_of(p, n, p + n);
        n_ids = find_long(&w->tables, (const long_line *)(uintptr_t)w->keys[i][0], &key, n, ids);
    }
    return n_ids == LOST ? 0 : n_ids;
}

static void remember(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, const uint32_t *ids,
                     size_t n_ids) {
    const key32 key = key32_of(p, n, end);
    if (n <= SHORT_KEY) remember_short(&w->tables, key.half[0], hash16(key.half[0]), ids, (unsigned)n_ids);
    else remember_long(&w->tables, &key, n, hash32(key, n), ids, n_ids);
}

/* The ids of a piece or a segment, from a table if one holds it. */
static size_t look_up(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, part kind, uint32_t *ids) {
    int keep = 1;
    if (n > RECORD_MOST) return compute(w, p, n, end, kind, &keep, ids);
    if (n > LONG_KEY) return look_up_record(w, p, n, end, kind, ids);
    size_t n_ids = find(w, p, n, end, ids);
    if (n_ids) return n_ids;
    n_ids = compute(w, p, n, end, kind, &keep, ids);
    if (keep && n_ids) remember(w, p, n, end, ids, n_ids);
    return n_ids;
}

/* How many ids, where that is all that is asked for. */
static size_t look_up_count(lf_text_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, part kind) {
    w->ids = lf_grown(w->ids, &w->n_ids, (n + 8) * sizeof *w->ids, &w->status);
    return w->ids ? look_up(w, p, n, end, kind, w->ids) : 0;
}

/* Sets the bits first .. stop - 1. */
static inline void set_bits(uint64_t *words, size_t first, size_t stop) {
    for (size_t k = first; k < stop; k = (k / 64 + 1) * 64) {
        const uint64_t from = ~(uint64_t)0 << k % 64, upto = stop / 64 > k / 64 ? 0 : ~(uint64_t)0 << stop % 64;
        words[k / 64] |= from & ~upto;
    }
}

/* Writes the cuts of a piece after bound n - 1, its own, and notes them; returns how many bounds there are now. */
static inline size_t cut_piece(lf_text_workspace *w, const uint8_t *p, size_t length, uint32_t at, size_t n) {
    if (LF_LIKELY(length <= SHORT_KEY || length > CUT_MOST)) return n;
    if (length <= LONG_KEY && p[lf_utf8_before(p, length)] < 0xE0) return n; /* a word: better kept whole */
    const size_t n_cuts = lf_bpe_cuts(w->text->model, p, length, at, w->cuts + n);
    set_bits(w->inner, n, n + n_cuts);
    return n + n_cuts;
}

/* Long pieces in scripts without spaces between words hardly ever come twice, but their parts do: cutting them before
 * they are keyed lets their parts be looked up like pieces. Writes the bounds with the cuts among them, marks the cuts, and
 * returns how many parts there are. */
static size_t cut_batch(lf_text_workspace *w, const uint8_t *base, size_t n_pieces) {
    enum { SOME = 16 };
    size_t n = 0;
    for (size_t i = 0; i < n_pieces;) {
        const uint32_t *bounds = w->bounds + i;
        const size_t stop = i + SOME < n_pieces ? i + SOME : n_pieces;
        uint32_t longest = 0;
        for (size_t k = 0; k < SOME; k++) /* past the last piece too: then it is looked at more closely for nothing */
            longest = bounds[k + 1] - bounds[k] > longest ? bounds[k + 1] - bounds[k] : longest;
        if (longest <= SHORT_KEY && stop == i + SOME) {
            memcpy(w->cuts + n, bounds, SOME * sizeof *bounds);
            n += SOME;
            i += SOME;
            continue;
        }
        for (; i < stop; i++) {
            w->cuts[n++] = w->bounds[i];
            n = cut_piece(w, base + w->bounds[i], w->bounds[i + 1] - w->bounds[i], w->bounds[i], n);
        }
    }
    w->cuts[n] = w->bounds[n_pieces];
    return n;
}

static __attribute__((noinline)) size_t cut_window(lf_text_workspace *w, const lf_split_batch *window,
                                                   const uint8_t *text, size_t n_text) {
    memset(w->inner, 0, sizeof w->inner);
#if defined(__AVX512VBMI2__)
    if (window->n_blocks) {
        size_t n = 0, first = 0;
        while (!w->starts[first]) first++;
        const size_t start = window->at + 64 * first + (size_t)__builtin_ctzll(w->starts[first]);
        if (window->base < window->at) { /* the first piece, of which a part lies before the blocks */
            w->cuts[n++] = 0;
            n = cut_piece(w, text + window->base, start - window->base, 0, n);
        }
        return cut_blocks(w->text->model, text, n_text, window, w->starts, n, w->cuts, w->inner) - 1;
    }
#endif
    (void)n_text;
    return cut_batch(w, text + window->base, window->n_pieces);
}

/* Batches. `ids` is NULL where only the number is asked for. */

/* What is left of the key of a piece that the first table has no room for: its line in the second. */
static inline void key_long(lf_text_workspace *w, const uint8_t *p, size_t n, size_t i) {
    if (n > LONG_KEY) return;
    const long_line *line = &w->tables.long_lines[long_home_of(&w->tables, hash32(key32_of(p, n, p + n), n))];
    w->keys[i] = (key16){(uintptr_t)line, (uint64_t)n << 56};
    __builtin_prefetch(line);
}

#if defined(__VAES__)
/* Four keys at a time: the masked load of key16_of in each quarter of a register, two AES rounds as the hash. Only for
 * pieces with 16 bytes to read. What limits this is loads, so nothing is read again that a register holds. */
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
    const __m256i homes = _mm256_add_epi64(_mm256_slli_epi64(_mm256_srli_epi64(lines, 32), 6),
                                           _mm256_set1_epi64x((long long)(uintptr_t)w->tables.lines));
    _mm256_storeu_si256((void *)(w->homes + i), homes);
    __builtin_prefetch((const void *)(uintptr_t)_mm256_extract_epi64(homes, 0));
    __builtin_prefetch((const void *)(uintptr_t)_mm256_extract_epi64(homes, 1));
    __builtin_prefetch((const void *)(uintptr_t)_mm256_extract_epi64(homes, 2));
    __builtin_prefetch((const void *)(uintptr_t)_mm256_extract_epi64(homes, 3));
    unsigned longer = _mm_cmpgt_epi32_mask(lengths, _mm_set1_epi32(SHORT_KEY)) & 15; /* gcc 12 may not clear the rest */
    if (LF_UNLIKELY(longer))
        for (; longer; longer &= longer - 1) {
            const size_t k = i + (size_t)__builtin_ctz(longer);
            key_long(w, base + bounds[k], bounds[k + 1] - bounds[k], k);
        }
}
#endif

static inline __attribute__((always_inline)) void key_one(lf_text_workspace *w, const uint8_t *p, size_t n,
                                                          const uint8_t *end, size_t i) {
    const key16 key = key16_of(p, n, end);
    w->keys[i] = key;
    w->homes[i] = &w->tables.lines[home_of(&w->tables, hash16(key))];
    __builtin_prefetch(w->homes[i]);
    if (LF_UNLIKELY(n > SHORT_KEY)) key_long(w, p, n, i);
}

/* Piece i of a batch is base[bounds[i] .. bounds[i + 1]). A function of its own, so that its constants stay in registers. */
static __attribute__((noinline)) void key_batch(lf_text_workspace *w, const uint32_t *bounds, const uint8_t *base,
                                                const uint8_t *end, size_t n_pieces) {
    size_t i = 0, n_whole = n_pieces; /* so many have 16 bytes to read */
    while (n_whole && end - (base + bounds[n_whole - 1]) < 16) n_whole--;
#if defined(__VAES__)
    for (; i + 4 <= n_whole; i += 4) key_four(w, bounds, base, i);
#endif
    for (; i < n_whole; i++) key_one(w, base + bounds[i], bounds[i + 1] - bounds[i], base + bounds[i] + 16, i);
    for (; i < n_pieces; i++) key_one(w, base + bounds[i], bounds[i + 1] - bounds[i], end, i);
}

/* The ids of a line that holds the key, NULL if it does not. Which of its two keys it is must not be a branch. */
static inline const packed *probe(const short_line *line, const key16 *key) {
#if defined(__AVX2__)
    static const uint8_t offset[16] = {[3] = 32, [7] = 32, [11] = 32, [15] = 32, [12] = 48, [13] = 48, [14] = 48};
    const __m256i both = _mm256_broadcastsi128_si256((__m128i)*key), keys = _mm256_load_si256((const void *)line->key);
#if defined(__AVX512VL__)
    const unsigned at = offset[_mm256_cmpeq_epi64_mask(keys, both)];
#else
    const unsigned at = offset[_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(keys, both)))];
#endif
    return at ? (const packed *)((const uint8_t *)line + at) : NULL;
#else
    const int first = has_key(&line->key[0], *key), second = has_key(&line->key[1], *key);
    return first | second ? &line->ids[second] : NULL;
#endif
}

static inline part kind_of(const uint64_t *inner, size_t k) {
    return inner && (inner[k / 64] >> k % 64 | inner[(k + 1) / 64] >> (k + 1) % 64) & 1 ? SEGMENT : PIECE;
}

#if defined(__AVX512F__)
/* Whether merging alone decides the ids of a piece that no table holds. */
static int merely_merges(const lf_text_workspace *w, const uint8_t *p, size_t n, part kind) {
    if (n > SHORT_KEY && kind == PIECE && lf_bpe_next_cut(w->text->model, p, n, 0) < n) return 0;
    return unformed_token(w, p, n) == LF_NO_SYMBOL;
}

/* Puts ids in the place of the symbols in the first rows. */
static inline void ids_of_rows(const lf_bpe *model, merging *g, uint32_t rows) {
    for (uint32_t r = 0; r < rows; r++) {
        const lanes symbol = g->symbol[r], id = symbol + model->id_shift, none = {0};
        const some bytes = below(symbol, none + 256);
        g->symbol[r] = (lanes)_mm512_mask_i32gather_epi32((__m512i)id, bytes, (__m512i)symbol, model->symbol_ids, 4);
    }
}

/* Merges at most SIDE_BY_SIDE * LANES delayed pieces, given by length. */
static void merge_some(lf_text_workspace *w, const uint32_t *which, size_t n_pieces) {
    const lf_bpe *model = w->text->model;
    delayed_pieces *d = &w->delayed;
    merging group[SIDE_BY_SIDE];
    for (size_t v = 0; v < SIDE_BY_SIDE; v++) { /* the last piece of each vector is its longest */
        const size_t stop = n_pieces < (v + 1) * LANES ? n_pieces : (v + 1) * LANES;
        begin_lanes(&group[v], stop > v * LANES ? d->pieces[which[stop - 1]].n_bytes : 0);
    }
    for (size_t k = 0; k < n_pieces; k++) {
        const delayed_piece *piece = &d->pieces[which[k]];
        put_in_lane(model, &group[k / LANES], k % LANES, piece->bytes, piece->n_bytes);
    }
    merge_lanes(&model->pairs, group);
    const int follow = model->ids_follow;
    for (size_t v = 0; v < SIDE_BY_SIDE && follow; v++)
        ids_of_rows(model, &group[v], (uint32_t)_mm512_reduce_max_epu32((__m512i)group[v].n));
    for (size_t k = 0; k < n_pieces; k++) {
        delayed_piece *piece = &d->pieces[which[k]];
        const uint32_t n = group[k / LANES].n[k % LANES];
        const uint32_t *symbol = (const uint32_t *)group[k / LANES].symbol + k % LANES;
        uint32_t *ids = d->ids + d->n_ids;
        for (size_t r = 0; r < n; r++) ids[r] = follow ? symbol[r * LANES] : model->symbol_ids[symbol[r * LANES]];
        piece->begin = d->n_ids, piece->n_ids = n, d->n_ids += n;
        remember(w, piece->bytes, piece->n_bytes, piece->bytes + sizeof piece->bytes, ids, n);
    }
}

/* The hash of a delayed piece, whose place in a table is fetched: it is to be remembered. */
static inline uint64_t hash_delayed(const lf_text_workspace *w, const delayed_piece *piece) {
    const tables *t = &w->tables;
    const key32 key = key32_of(piece->bytes, piece->n_bytes, piece->bytes + sizeof piece->bytes);
    if (piece->n_bytes <= SHORT_KEY) {
        const uint64_t hash = hash16(key.half[0]);
        __builtin_prefetch(&t->lines[home_of(t, hash)], 1);
        return hash;
    }
    const uint64_t hash = hash32(key, piece->n_bytes);
    __builtin_prefetch(&t->long_lines[long_home_of(t, hash)], 1);
    return hash;
}

/* Merges the delayed pieces: of those with the same bytes one, and by length, so that the lanes of a vector end together. */
static void merge_delayed(lf_text_workspace *w) {
    enum { GROUP = SIDE_BY_SIDE * LANES };
    delayed_pieces *d = &w->delayed;
    uint32_t counts[LONG_KEY + 2] = {0}, n_first = 0;
    memset(d->slots, 0, sizeof d->slots);
    d->n_ids = 0;
    for (uint32_t k = 0; k < d->n_pieces; k++) {
        delayed_piece *piece = &d->pieces[k];
        uint16_t *slot = &d->slots[hash_delayed(w, piece) % DELAYED_SLOTS];
        const uint32_t other = *slot ? *slot - 1u : k;
        const int same = d->pieces[other].n_bytes == piece->n_bytes &&
                         !memcmp(d->pieces[other].bytes, piece->bytes, sizeof piece->bytes);
        piece->first = same ? other : k;
        if (piece->first != k) continue;
        *slot = (uint16_t)(k + 1);
        counts[piece->n_bytes + 1]++;
        n_first++;
    }
    for (size_t n = 1; n <= LONG_KEY; n++) counts[n] += counts[n - 1];
    for (uint32_t k = 0; k < d->n_pieces; k++)
        if (d->pieces[k].first == k) d->by_length[counts[d->pieces[k].n_bytes]++] = k;
    for (size_t k = 0; k < n_first; k += GROUP)
        merge_some(w, d->by_length + k, n_first - k < GROUP ? n_first - k : GROUP);
}

/* Finds out what was delayed and puts it where it belongs among the ids: the last stretch between two gaps moves first. */
static __attribute__((noinline)) void catch_up(lf_text_workspace *w) {
    delayed_pieces *d = &w->delayed;
    size_t n_more = 0, stop = w->n_out - d->start;
    merge_delayed(w);
    for (size_t k = 0; k < d->n_pieces; k++) {
        const uint32_t n = d->pieces[d->pieces[k].first].n_ids;
        *d->pieces[k].count += n;
        n_more += n;
    }
    uint32_t *ids = w->out ? w->out + d->start : NULL;
    size_t before = n_more; /* so many of them go before what is moved next */
    for (size_t k = d->n_pieces; ids && k-- > 0; stop = d->pieces[k].at) {
        const uint32_t at = d->pieces[k].at;
        const delayed_piece *first = &d->pieces[d->pieces[k].first];
        memmove(ids + at + before, ids + at, (stop - at) * sizeof *ids);
        before -= first->n_ids;
        memcpy(ids + at + before, d->ids + first->begin, first->n_ids * sizeof *ids);
    }
    d->n_pieces = 0;
    w->n_out += n_more;
    w->n_caught += n_more;
}

/* Puts off a piece of at most LONG_KEY bytes. */
static void delay(lf_text_workspace *w, const uint8_t *p, size_t n, size_t n_before) {
    delayed_pieces *d = &w->delayed;
    if (d->n_pieces == 0) d->start = n_before;
    delayed_piece *piece = &d->pieces[d->n_pieces++];
    _mm256_storeu_si256((void *)piece->bytes, _mm256_maskz_loadu_epi8((1u << n) - 1, p));
    piece->count = w->count;
    piece->n_bytes = (uint32_t)n;
    piece->at = (uint32_t)(n_before - d->start);
}
#endif

/* The ids of piece k of a batch, which one look does not find, and n_before ids before it. Those of a delayed piece come
 * later: 0. */
static __attribute__((noinline)) size_t emit_other(lf_text_workspace *w, size_t k, const uint8_t *p, size_t n,
                                                   const uint8_t *end, part kind, size_t n_before, uint32_t *ids) {
    uint32_t unwanted[LONG_KEY + SHORT_IDS];
    const size_t n_ids = n <= LONG_KEY ? find_keyed(w, k, p, n, ids ? ids : unwanted) : 0;
    if (n_ids) return n_ids;
#if defined(__AVX512F__)
    if (n > 1 && n <= LONG_KEY && merely_merges(w, p, n, kind)) return delay(w, p, n, n_before), 0;
#else
    (void)n_before;
#endif
    return ids ? look_up(w, p, n, end, kind, ids) : look_up_count(w, p, n, end, kind);
}

static inline size_t emit_batch(lf_text_workspace *w, const uint32_t *bounds, const uint8_t *base, const uint8_t *end,
                                size_t n_pieces, const uint64_t *inner, size_t first, uint32_t *ids) {
    size_t n_ids = 0;
    const packing packing = w->tables.packing; /* in registers */
    for (size_t i = 0; i < n_pieces; i++) {
        const packed *found = probe(w->homes[i], &w->keys[i]);
        const unsigned n_found = found ? (unsigned)((*found)[1] >> COUNT_SHIFT) : SEE_TAIL;
        if (LF_LIKELY(n_found != SEE_TAIL)) {
            if (ids) unpack(&packing, found, ids + n_ids);
            n_ids += n_found;
            continue;
        }
        const unsigned n_tail =
            found ? take_tail(&w->tables, (*found)[0], (unsigned)(*found)[1] & 0xFF, ids ? ids + n_ids : NULL) : LOST;
        if (n_tail != LOST) {
            n_ids += n_tail;
            continue;
        }
        n_ids += emit_other(w, i, base + bounds[i], bounds[i + 1] - bounds[i], end, kind_of(inner, first + i),
                            w->n_out + n_ids, ids ? ids + n_ids : NULL);
    }
    return n_ids;
}

/* Plain text: no added token in it, already normalized. */
static void plain(lf_text_workspace *w, const uint8_t *text, size_t n) {
    const uint8_t *end = text + n;
    if (n <= SMALL) { /* a copy with room behind it, so that every key can be loaded whole */
        memcpy(w->small, text, n);
        text = w->small;
        end = w->small + sizeof w->small;
    }
    lf_split_run run;
    lf_split_begin(&run, w->text->split, w->text->unicode, text, n);
#if defined(__AVX512VBMI2__)
    run.starts = w->starts;
#endif
    for (;;) {
        const lf_split_batch batch = LF_CAT(lf_split_fill, LF_ISA)(&run, w->bounds);
        const uint8_t *base = text + batch.base;
        const uint64_t *inner = NULL;
        const uint32_t *bounds = w->bounds;
        size_t n_parts = batch.n_pieces;
        if (batch.beyond_ascii) n_parts = cut_window(w, &batch, text, n), bounds = w->cuts, inner = w->inner;
        for (size_t i = 0; i < n_parts; i += BATCH) {
            const size_t m = n_parts - i < BATCH ? n_parts - i : BATCH;
            key_batch(w, bounds + i, base, end, m);
            w->n_out += w->out ? emit_batch(w, bounds + i, base, end, m, inner, i, w->out + w->n_out)
                               : emit_batch(w, bounds + i, base, end, m, inner, i, NULL);
#if defined(__AVX512F__)
            if (w->delayed.n_pieces > DELAYED_ENOUGH ||
                (w->delayed.n_pieces && w->n_out - w->delayed.start > DELAYED_IDS))
                catch_up(w);
#endif
        }
        if (LF_UNLIKELY(batch.giant))
            w->n_out += w->out ? look_up(w, base, batch.giant, end, PIECE, w->out + w->n_out)
                               : look_up_count(w, base, batch.giant, end, PIECE);
        else if (batch.n_pieces == 0) return;
    }
}

/* Calls `rest` on what lies between added tokens and writes their ids. */
typedef void stretch(lf_text_workspace *w, const uint8_t *text, size_t n, lf_allowed allowed);

static inline void around_added(lf_text_workspace *w, const lf_added *added, const uint8_t *bits, const uint8_t *text,
                                size_t n, lf_allowed allowed, stretch *rest) {
    size_t done = 0, from = 0;
    lf_added_match match = {0};
    while (added && (bits || added->n_plain) &&
           lf_added_next(added, w->text->unicode, text, n, from, done, bits, &match)) {
        if (match.start > done) rest(w, text + done, match.start - done, allowed);
        if (w->out) w->out[w->n_out] = match.id;
        w->n_out++;
        done = match.stop;
        from = match.resume;
    }
    if (done < n) rest(w, text + done, n - done, allowed);
}

static void after_normalized(lf_text_workspace *w, const uint8_t *text, size_t n, lf_allowed allowed) {
    (void)allowed;
    plain(w, text, n);
}

static void after_raw(lf_text_workspace *w, const uint8_t *text, size_t n, lf_allowed allowed) {
    if (w->text->nfc && lf_nfc_prefix(text, n) < n) {
        w->normalized = lf_grown(w->normalized, &w->n_normalized, lf_nfc_bound(n), &w->status);
        if (!w->normalized) return;
        n = lf_nfc(text, n, w->normalized);
        text = w->normalized;
    }
    around_added(w, w->text->added_normalized, allowed.normalized, text, n, allowed, after_normalized);
}

static void begin(lf_text_workspace *w, uint32_t *ids) {
    w->out = ids;
    w->n_out = w->n_caught = 0;
    w->status = LF_OK;
#if defined(__AVX512F__)
    w->delayed.n_pieces = 0;
#endif
}

static void add(lf_text_workspace *w, const uint8_t *document, size_t n, lf_allowed allowed, int64_t *count) {
    const size_t before = w->n_out - w->n_caught;
    w->count = count;
    *count = 0;
    around_added(w, w->text->added_raw, allowed.raw, document, n, allowed, after_raw);
    *count += (int64_t)(w->n_out - w->n_caught - before);
}

static lf_status end(lf_text_workspace *w, size_t *n_ids) {
#if defined(__AVX512F__)
    if (w->delayed.n_pieces) catch_up(w);
#endif
    *n_ids = w->n_out;
    return w->status;
}

static lf_status encode_pieces(lf_text_workspace *w, const uint8_t *bytes, const int64_t *ends, size_t n_pieces,
                               uint32_t *ids, size_t *n_ids) {
    size_t n = 0, start = 0;
    const uint8_t *stop = bytes + (n_pieces ? ends[n_pieces - 1] : 0);
    w->status = LF_OK;
    for (size_t i = 0; i < n_pieces; start = (size_t)ends[i++])
        n += look_up(w, bytes + start, (size_t)ends[i] - start, stop, PIECE, ids + n);
    *n_ids = n;
    return w->status;
}

/* Tokens [from, to) are put into the tables before they are asked for: each that forms is its own id, with no need to merge.
 * Those that begin with a small letter are left out: they hardly ever are whole pieces, and the tables have better use. */
static void seed(lf_text_workspace *w, size_t from, size_t to) {
    const lf_bpe *m = w->text->model;
    const uint8_t *end = m->blob + m->offsets[m->n_tokens];
    enum { AHEAD = 16 }; /* tokens between fetching a line and writing to it */
    for (size_t t = from; t < to + AHEAD; t++)
        for (int write = 0; write < 2; write++) {
            const size_t k = t - (write ? AHEAD : 0);
            if (k < from || k >= to || k > t) continue;
            const uint8_t *p = m->blob + m->offsets[k];
            const size_t n = (size_t)(m->offsets[k + 1] - m->offsets[k]);
            if (n > LONG_KEY || !lf_bpe_forms(m, (uint32_t)k) || (*p >= 'a' && *p <= 'z' && n > 3)) continue;
            const key32 key = key32_of(p, n, end);
            const uint64_t hash = n <= SHORT_KEY ? hash16(key.half[0]) : hash32(key, n);
            if (!write && n <= SHORT_KEY) __builtin_prefetch(&w->tables.lines[home_of(&w->tables, hash)], 1);
            else if (!write) __builtin_prefetch(&w->tables.long_lines[long_home_of(&w->tables, hash)], 1);
            else if (n <= SHORT_KEY) remember_short(&w->tables, key.half[0], hash, &m->ids[k], 1);
            else remember_long(&w->tables, &key, n, hash, &m->ids[k], 1);
        }
}

/* First the pages of the first table are made, then tokens are put in; threads that share the tables each take the next
 * step. */
static void workspace_prepare(lf_text_workspace *w) {
    enum { SOME = 1 << 13 };
    const tables *t = &w->tables;
    const size_t n_tokens = w->text->model->n_tokens, large = LF_PAGES_LEAST;
    const uintptr_t begin = (uintptr_t)t->lines, stop = begin + t->n_lines * sizeof *t->lines;
    const size_t n_pages = stop - begin < large ? 0 : stop / large - begin / large + 1;
    const size_t n_steps = n_pages + (n_tokens + SOME - 1) / SOME;
    while (__atomic_load_n(&t->common->n_prepared, __ATOMIC_RELAXED) < n_steps) {
        const size_t step = __atomic_fetch_add(&t->common->n_prepared, 1, __ATOMIC_RELAXED);
        const size_t from = step < n_pages ? 0 : (step - n_pages) * SOME;
        if (step < n_pages) {
            const uintptr_t at = (begin / large + step) * large, first = at < begin ? begin : at;
            const uintptr_t last = at + large < stop ? at + large : stop;
            lf_pages_populate((uint8_t *)t->lines + (first - begin), last - first);
        } else if (from < n_tokens) {
            seed(w, from, from + SOME < n_tokens ? from + SOME : n_tokens);
        }
    }
}

static void workspace_free(lf_text_workspace *w) {
    if (!w) return;
    if (!w->joined) tables_free(&w->tables);
    free(w->normalized), free(w->scratch.buffer), free(w->ids);
    free(w);
}

static lf_text_workspace *workspace_empty(const lf_text *text) {
    lf_text_workspace *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
    if (!w) return NULL;
    memset(w, 0, sizeof *w);
    w->text = text;
    return w;
}

static lf_status workspace_new(lf_text_workspace **workspace, const lf_text *text, size_t cache_bytes) {
    *workspace = NULL;
    lf_text_workspace *w = workspace_empty(text);
    if (!w) return LF_ENOMEM;
    uint32_t largest = 0;
    for (size_t t = 0; t < text->model->n_tokens; t++)
        if (text->model->ids[t] > largest) largest = text->model->ids[t];
    if (!tables_new(&w->tables, cache_bytes, largest)) return free(w), LF_ENOMEM;
    const lf_bpe *m = text->model;
    for (uint32_t t = 0; !m->all_form && t < m->n_tokens; t++) {
        if (lf_bpe_forms(m, t)) continue;
        const size_t bit = unformed_bit(w, m->blob + m->offsets[t], (size_t)(m->offsets[t + 1] - m->offsets[t]));
        w->unformed[bit / 8] |= (uint8_t)(1u << bit % 8);
    }
    *workspace = w;
    return LF_OK;
}

static lf_status workspace_join(lf_text_workspace **workspace, const lf_text_workspace *owner) {
    lf_text_workspace *w = *workspace = workspace_empty(owner->text);
    if (!w) return LF_ENOMEM;
    w->joined = 1;
    w->tables = owner->tables;
    memcpy(w->unformed, owner->unformed, sizeof w->unformed);
    return LF_OK;
}

static void workspace_enter(lf_text_workspace *w) { tables_enter(&w->tables); }
static void workspace_pause(lf_text_workspace *w) { tables_pause(&w->tables); }
static void workspace_leave(lf_text_workspace *w) { tables_leave(&w->tables); }

const lf_text_ops LF_CAT(lf_text, LF_ISA) = {LF_ISA_ID,
                                             workspace_new,
                                             workspace_join,
                                             workspace_prepare,
                                             workspace_free,
                                             workspace_enter,
                                             workspace_pause,
                                             workspace_leave,
                                             begin,
                                             add,
                                             end,
                                             encode_pieces};
