/* merge_lanes.h - short pieces merged side by side, one in each lane of a vector; included by encode_body.h where there is
 * AVX-512.
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

enum { LANES = 16, LANE_MOST = 32 }; /* pieces, and bytes of a piece */

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));
typedef uint64_t half_lanes __attribute__((vector_size(4 * LANES)));
typedef uint32_t half_narrow __attribute__((vector_size(2 * LANES)));

typedef __mmask16 some; /* lanes: a bit each. As vectors they would cost one more step wherever they choose. */

static inline some equal(lanes a, lanes b) { return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b); }
static inline some below(lanes a, lanes b) { return _mm512_cmplt_epu32_mask((__m512i)a, (__m512i)b); }
static inline lanes least(lanes a, lanes b) { return (lanes)_mm512_min_epu32((__m512i)a, (__m512i)b); }
static inline lanes choose(some these, lanes yes, lanes no) {
    return (lanes)_mm512_mask_mov_epi32((__m512i)no, these, (__m512i)yes);
}

/* Questions to the table of pairs, one in each lane of two vectors, as four halves of 64 bits a lane; and what lf_pairs_find
 * says to them. */
typedef union {
    lanes whole[2];
    half_narrow half[4];
} four_halves;

typedef struct {
    half_lanes key[4], at[4];
    uint32_t open; /* a bit for each question that the filter lets through */
} questions;

static inline half_lanes widened(half_narrow v) { return __builtin_convertvector(v, half_lanes); }

/* Looks where the pairs should be; only in `these` lanes, and where the filter lets them through. */
static inline void ask(const lf_pairs *pairs, const four_halves left, const four_halves right, const some these[2],
                       questions *q) {
    four_halves bit;
    for (int i = 0; i < 4; i++) {
        q->key[i] = widened(left.half[i]) << 21 | widened(right.half[i]);
        const half_lanes hash = q->key[i] * 0x9E3779B97F4A7C15u; /* lf_pair_hash */
        bit.half[i] = __builtin_convertvector(hash >> (64 - LF_PAIR_FILTER_BITS), half_narrow);
        q->at[i] = hash >> (64 - pairs->bits);
    }
    q->open = 0;
    for (int i = 0; i < 2; i++) {
        const __m512i words = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), these[i],
                                                          (__m512i)(bit.whole[i] >> 5), pairs->filter, 4);
        const lanes wanted = ((lanes){0} + 1) << (bit.whole[i] & 31);
        q->open |= (uint32_t)_mm512_test_epi32_mask(words, (__m512i)wanted) << i * LANES;
    }
    for (uint32_t open = q->open; open; open &= open - 1) {
        const unsigned i = (unsigned)__builtin_ctz(open);
        __builtin_prefetch(&pairs->slots[((const uint64_t *)q->at)[i]]);
    }
}

/* What the table says to those questions. */
static inline four_halves answers(const lf_pairs *pairs, const questions *q) {
    four_halves answer = {{~(lanes){0}, ~(lanes){0}}};
    for (uint32_t open = q->open; open; open &= open - 1) {
        const unsigned i = (unsigned)__builtin_ctz(open);
        ((uint32_t *)answer.whole)[i] =
            lf_pairs_probe(pairs, ((const uint64_t *)q->key)[i], ((const uint64_t *)q->at)[i]);
    }
    return answer;
}

/* A vector of pieces. Row r of `symbol` holds symbol r of each; n of them are left. */
typedef struct {
    uint32_t rows;                /* that are in use; 0: nothing is left to merge */
    lanes n, at;                  /* at: where the last step merged */
    lanes with_next, with_before; /* what that forms with its neighbours             */
    lanes symbol[LANE_MOST + 2], rank[LANE_MOST + 2];
} merging;

/* Lane k of a vector has no piece yet. */
static inline void begin_lanes(merging *g, uint32_t rows) {
    const lanes none = ~(lanes){0};
    g->rows = rows;
    for (uint32_t r = 0; r <= rows; r++) g->rank[r] = none;
    g->symbol[rows] = g->with_next = g->with_before = none;
    g->n = (lanes){0};
    g->at = none - 1;
}

/* Puts a piece of 2 to LANE_MOST bytes into a lane. */
static inline void put_in_lane(const lf_bpe *model, merging *g, unsigned lane, const uint8_t *p, uint32_t n) {
    uint32_t *symbol = (uint32_t *)g->symbol + lane, *rank = (uint32_t *)g->rank + lane;
    for (uint32_t r = 0; r + 1 < n; r++) {
        symbol[r * LANES] = p[r];
        rank[r * LANES] = model->byte_pairs[p[r] | p[r + 1] << 8];
    }
    symbol[(n - 1) * LANES] = p[n - 1];
    g->n[lane] = n;
}

/* Finds the least rank of each lane and merges there; what the new symbol forms is asked. Returns 0 where nothing is left to
 * merge. */
static inline int merge_step(const lf_pairs *pairs, merging *g, questions *q) {
    const uint32_t rows = g->rows;
    const lanes none = ~(lanes){0}, zero = {0};
    lanes best = none, place = none, row = zero + rows;
    some here, after = equal(g->at, row); /* the lanes that merged last in this row, and in the one after it */
    for (uint32_t r = rows; r-- > 0; after = here) {
        here = equal(g->at, row -= 1);
        const lanes rank = choose(after, g->with_before, choose(here, g->with_next, g->rank[r]));
        g->rank[r] = rank;
        best = least(best, rank);
        place = choose(equal(best, rank), row, place);
    }
    const some resting = equal(best, none), active = (some)~resting;
    const lanes at = choose(resting, none - 1, place);
    g->n = choose(active, g->n - 1, g->n);
    lanes before = none, next = none;
    some earlier = 0, last = 0; /* those that merge now in a row before this one, and in the last */
    here = equal(at, zero);
    row = zero;
    for (uint32_t r = 0; r < rows; r++) {
        after = equal(at, row += 1);
        before = choose(after, g->symbol[r], before);
        const lanes symbol = choose(here, best, choose(earlier, g->symbol[r + 1], g->symbol[r]));
        g->symbol[r] = symbol;
        g->rank[r] = choose(earlier, g->rank[r + 1], g->rank[r]);
        next = choose(last, symbol, next);
        earlier |= here;
        last = here;
        here = after;
    }
    g->at = at;
    const four_halves left = {{best, before}}, right = {{next, best}};
    const some these[2] = {active & below(at + 1, g->n), active & (some)~equal(at, zero)};
    ask(pairs, left, right, these, q);
    return active != 0;
}

/* Merges several vectors of pieces. */
enum { SIDE_BY_SIDE = 2 };
static void merge_lanes(const lf_pairs *pairs, merging *g) {
    questions q[SIDE_BY_SIDE];
    for (int more = 1; more;) {
        more = 0;
        for (int i = 0; i < SIDE_BY_SIDE; i++)
            if (g[i].rows > 1 && merge_step(pairs, &g[i], &q[i])) more = 1;
            else g[i].rows = 0;
        for (int i = 0; i < SIDE_BY_SIDE; i++) {
            if (g[i].rows == 0) continue;
            const four_halves answer = answers(pairs, &q[i]);
            g[i].with_next = answer.whole[0], g[i].with_before = answer.whole[1];
            g[i].rows--;
        }
    }
}

#endif
