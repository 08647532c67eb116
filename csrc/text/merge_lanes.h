/* merge_lanes.h - short pieces merged side by side, one in each lane of a vector; included by encode_body.h for the instruction
 * sets that can gather.
 *
 * One piece alone leaves the processor waiting: for the strongest pair, then for the table that says what the new symbol
 * forms with its neighbours, then for the next. Side by side the pieces wait together.
 *
 *             lane 0    lane 1    lane 2 ...           row r of `symbol` holds symbol r of every piece, row r of `rank` the
 *     row 0     t         w         b                  symbol that it forms with the next one. A step finds the least rank
 *     row 1     h         o         y                  of each lane, puts it where its left part is and moves the rows
 *     row 2     e         r         -                  after it up, in that lane only; a lane that has no pair left rests.
 *
 * Two vectors go together, so that the one works while the other waits.
 *
 * Exactness: the symbols that lf_bpe_merge gives. */
#ifndef LF_TEXT_MERGE_LANES_H
#define LF_TEXT_MERGE_LANES_H

#include <immintrin.h>

#include "text/bpe.h"

#if defined(__AVX512F__)
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif
enum { LANE_MOST = 32, LANE_ROOM = LANE_MOST + 4 }; /* bytes of a piece, and from one piece to the next */

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));
typedef uint64_t half_lanes __attribute__((vector_size(4 * LANES)));
typedef uint32_t half_narrow __attribute__((vector_size(2 * LANES)));

/* base[index] in each lane of `where`, all ones in the others. `base` is counted in units of `scale` bytes. */
#if defined(__AVX512F__)
#define GATHER(base, index, where, scale)                                                                              \
    ((lanes)_mm512_mask_i32gather_epi32(_mm512_set1_epi32(-1), _mm512_movepi32_mask((__m512i)(where)),                 \
                                        (__m512i)(index), base, scale))
static inline half_lanes gather_slots(const uint64_t *base, half_lanes index, half_lanes where) {
    return (half_lanes)_mm512_mask_i64gather_epi64(_mm512_setzero_si512(), _mm512_movepi64_mask((__m512i)where),
                                                   (__m512i)index, base, 8);
}
static inline int any(lanes where) { return _mm512_movepi32_mask((__m512i)where) != 0; }
static inline lanes least(lanes a, lanes b) { return (lanes)_mm512_min_epu32((__m512i)a, (__m512i)b); }
#else
#define GATHER(base, index, where, scale)                                                                              \
    ((lanes)_mm256_mask_i32gather_epi32(_mm256_set1_epi32(-1), (const int *)(base), (__m256i)(index),                  \
                                        (__m256i)(where), scale))
static inline half_lanes gather_slots(const uint64_t *base, half_lanes index, half_lanes where) {
    return (half_lanes)_mm256_mask_i64gather_epi64(_mm256_setzero_si256(), (const long long *)base, (__m256i)index,
                                                   (__m256i)where, 8);
}
static inline int any(lanes where) { return _mm256_movemask_epi8((__m256i)where) != 0; }
static inline lanes least(lanes a, lanes b) { return (lanes)_mm256_min_epu32((__m256i)a, (__m256i)b); }
#endif

static inline lanes choose(lanes where, lanes yes, lanes no) { return (where & yes) | (~where & no); }

/* Questions to the table of pairs, one in each lane of two vectors, as four halves of 64 bits a lane; and what lf_bpe_pair
 * says to them. */
typedef union {
    lanes whole[2];
    half_narrow half[4];
} four_halves;

typedef struct {
    half_lanes key[4], at[4], open[4], slot[4];
} questions;

static inline half_lanes widened(half_narrow v) { return __builtin_convertvector(v, half_lanes); }

static inline half_lanes widened_mask(half_narrow v) {
    typedef int32_t signed_narrow __attribute__((vector_size(2 * LANES)));
    typedef int64_t signed_half __attribute__((vector_size(4 * LANES)));
    return (half_lanes) __builtin_convertvector((signed_narrow)v, signed_half);
}

/* Looks where the pairs should be; only in the lanes of `where`, and where the filter lets them through. */
static inline void ask(const lf_bpe *model, const four_halves left, const four_halves right, const four_halves where,
                       questions *q) {
    four_halves bit, through;
    for (int i = 0; i < 4; i++) {
        q->key[i] = widened(left.half[i]) << 21 | widened(right.half[i]);
        const half_lanes hash = q->key[i] * 0x9E3779B97F4A7C15u;
        bit.half[i] = __builtin_convertvector(hash >> (64 - LF_BPE_PAIR_FILTER_BITS), half_narrow);
        q->at[i] = hash >> (64 - model->pair_bits);
    }
    for (int i = 0; i < 2; i++) {
        const lanes words = GATHER((const void *)model->pair_filter, bit.whole[i] >> 5, where.whole[i], 4);
        through.whole[i] = -(words >> (bit.whole[i] & 31) & 1) & where.whole[i];
    }
    for (int i = 0; i < 4; i++) {
        q->open[i] = widened_mask(through.half[i]);
        q->slot[i] = gather_slots(model->pairs, q->at[i], q->open[i]);
    }
}

/* Looks further where another pair stood, until all is known. */
static inline four_halves answers(const lf_bpe *model, questions *q) {
    const uint64_t mask = ((uint64_t)1 << model->pair_bits) - 1;
    four_halves answer;
    half_lanes found[4] = {0}, again;
    do {
        again = (half_lanes){0};
        for (int i = 0; i < 4; i++) {
            const half_lanes used = (half_lanes)(q->slot[i] != 0) & q->open[i];
            const half_lanes same = (half_lanes)(q->slot[i] >> 22 == q->key[i]) & used;
            found[i] |= q->slot[i] & same;
            q->open[i] = used & ~same;
            again |= q->open[i];
            q->at[i] = (q->at[i] + 1) & mask;
            q->slot[i] = gather_slots(model->pairs, q->at[i], q->open[i]);
        }
    } while (any((lanes)again));
    for (int i = 0; i < 4; i++)
        answer.half[i] = __builtin_convertvector(found[i] & 0x3FFFFF, half_narrow) - 1; /* 0 - 1 is LF_NO_SYMBOL */
    return answer;
}

/* A vector of pieces. Row r of `symbol` holds symbol r of each; n of them are left. */
typedef struct {
    lanes n, at, active, best;    /* of the last step: where it merged and what into */
    lanes with_next, with_before; /* what that forms with its neighbours             */
    lanes symbol[LANE_MOST + 2], rank[LANE_MOST + 2];
} merging;

/* The pieces are bytes[LANE_ROOM * k ..] of g->n[k] bytes, at most `rows` and that at most LANE_MOST; 0: no piece. */
static inline void begin_lanes(const lf_bpe *model, merging *g, const uint8_t *bytes, uint32_t rows) {
    const lanes none = ~(lanes){0};
    lanes index;
    for (unsigned k = 0; k < LANES; k++) index[k] = k * LANE_ROOM;
    for (uint32_t r = 0; r < rows; r++) {
        const lanes two = GATHER((const void *)(bytes + r), index, none, 1) & 0xFFFF;
        g->symbol[r] = two & 0xFF;
        g->rank[r] = GATHER((const void *)model->byte_pairs, two, (lanes)(g->n > r + 1), 4);
    }
    g->symbol[rows] = g->rank[rows] = g->with_next = g->with_before = none;
    g->at = none - 1;
}

/* Finds the least rank of each lane and merges there; what the new symbol forms is asked. Returns 0 where nothing is left to
 * merge. */
static inline int merge_step(const lf_bpe *model, merging *g, uint32_t rows, questions *q) {
    const lanes none = ~(lanes){0};
    lanes best = none, place = none;
    for (uint32_t r = rows; r-- > 0;) {
        lanes here = choose((lanes)(g->at == r), g->with_next, g->rank[r]);
        here = choose((lanes)(g->at == r + 1), g->with_before, here);
        g->rank[r] = here;
        best = least(best, here);
        place = choose((lanes)(best == here), (lanes){0} + r, place);
    }
    const lanes active = (lanes)(best != none);
    const lanes at = choose(active, place, none - 1);
    g->n += active; /* one less */
    lanes before = none, next = none;
    for (uint32_t r = 0; r < rows; r++) {
        const lanes later = (lanes)(at < r);
        before = choose((lanes)(at == r + 1), g->symbol[r], before);
        g->symbol[r] = choose((lanes)(at == r), best, choose(later, g->symbol[r + 1], g->symbol[r]));
        g->rank[r] = choose(later, g->rank[r + 1], g->rank[r]);
        next = choose((lanes)(at + 1 == r), g->symbol[r], next);
    }
    g->at = at;
    const four_halves left = {{best, before}}, right = {{next, best}},
                      where = {{active & (lanes)(at + 1 < g->n), active & (lanes)(at != 0)}};
    ask(model, left, right, where, q);
    return any(active);
}

/* Merges several vectors of pieces. */
enum { SIDE_BY_SIDE = 2 };
static void merge_lanes(const lf_bpe *model, merging *g, uint32_t rows) {
    questions q[SIDE_BY_SIDE];
    for (int more = 1; rows > 1 && more; rows--) {
        more = 0;
        for (int i = 0; i < SIDE_BY_SIDE; i++) more |= merge_step(model, &g[i], rows, &q[i]);
        for (int i = 0; i < SIDE_BY_SIDE; i++) {
            const four_halves pairs = answers(model, &q[i]);
            g[i].with_next = pairs.whole[0], g[i].with_before = pairs.whole[1];
        }
    }
}

#endif
