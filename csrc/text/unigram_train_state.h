/* unigram_train_state.h - what the parts of Unigram training share; unigram_train.h explains it. */
#ifndef LF_TEXT_UNIGRAM_TRAIN_STATE_H
#define LF_TEXT_UNIGRAM_TRAIN_STATE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/pages.h"
#include "text/radix.h"
#include "text/unigram_train.h"

enum {
    LF_EDGE_LENGTH = 1023,  /* the symbols of an edge's piece */
    LF_EDGE_LAST = 1 << 10, /* exact: no more edges of this slot */
    LF_EDGE_PIECE = 11,     /* where the piece begins         */
    LF_SEED_PARTS = 64,     /* about so many parts for sorting and linking */
    LF_WORD_PARTS = 8,      /* at most so many sums in fast training; fixed, so that results do not depend on threads */
    LF_PIECE_PARTS = 16,    /* exact: for losses */
    LF_SYMBOLS_A_SUM = 1 << 16, /* fewer symbols need fewer sums */
    LF_DEAD_SHARE = 10,         /* so small a share of dropped pieces stays in the edges until the next pruning */
};

#define LF_GONE 0xFFFFFFFFu

static const double LF_UNKNOWN_PENALTY = 10; /* an unknown character scores this much less than the worst piece */
static const double LF_LEAST_EXPECTED = 0.5; /* pieces expected less often are dropped */

/* A node of the suffix tree: the suffixes left..right have their first `length` symbols in common. */
typedef struct {
    uint64_t count;
    uint32_t left, right;
    uint32_t piece;
    uint16_t length;
} lf_seed;

/* Some neighbouring buckets of suffixes, and the seeds found in them, by `right` and then the longest first. */
typedef struct {
    uint32_t first_symbol, end_symbol, n_suffixes;
    lf_seed *seeds;
    size_t n_seeds, room;
} lf_seed_part;

/* Some neighbouring words; fast: and the edges to their nodes. */
typedef struct {
    uint32_t first_word, end_word;
    double log_likelihood;
    uint32_t *edges;
    size_t n_edges, room;
} lf_word_part;

struct lf_unigram_trainer {
    lf_unigram_rules rules;

    /* Symbols, 1 .. n_symbols - 1, in the order of their characters. */
    uint32_t n_symbols, unknown, space;
    uint32_t *character;
    uint8_t *script, *bytes, *lead; /* bytes of UTF-8, and the first of them */

    size_t n_words;
    uint32_t n_slots;
    uint32_t *text, *word_at; /* word_at[n_words] = n_slots */
    size_t text_room;
    int64_t *counts, *ends; /* of which at the end of a sentence (exact) */
    uint32_t *shared;       /* fast: how many symbols a word has in common with the one before */
    uint32_t *next;         /* what follows a word in its sentence, see lf_either (exact) */
    uint32_t *next_line;    /* what follows the sentences that end with it (exact)        */
    double n_occurrences;   /* of symbols */

    /* Until the edges are there. limit: how many symbols the longest piece has that could begin in a slot. */
    uint16_t *limit;
    uint32_t *word_of, *suffixes, *bucket_at; /* bucket_at[s]: where the suffixes that begin with s begin */
    lf_seed_part *seed_parts;
    size_t n_seed_parts;

    /* Piece i is the piece_length[i] symbols at piece_at[i]; n_pieces stands for an unknown character in the edges. */
    uint32_t n_pieces, n_seeded;
    uint32_t *piece_at, *remap;
    uint16_t *piece_length;
    double *scores, *numbers, *losses; /* scores[n_pieces]: of an unknown character */
    uint8_t *keeps;                    /* what LOSS and SHADOW say of each: an lf_keep */

    /* Fast, until the edges are there: the longest seed that begins in a slot, and the next shorter one. */
    uint32_t *deepest, *parent;
    uint32_t *letter_of;  /* the pieces of single symbols */
    uint32_t *piece_word; /* fast: the word that piece_at lies in */

    uint32_t n_dead; /* fast: pieces without probability that are still in the edges */
    int is_stale;    /* the edges have the numbers from before remap */
    uint32_t *edge_at, *edges;
    size_t n_edges; /* room */
    lf_word_part *word_parts;
    size_t n_word_parts;
    double *weights;     /* fast: exp(score), scaled */
    double scale;        /* fast: logarithm of the factor for each symbol */
    void *sums;          /* fast: double[n_word_parts][n_seeded + 1]; exact: float[n_sums][n_seeded + 1] */
    double *likelihoods; /* exact: of each sum */
    double sum, logsum;  /* of the numbers, for losses */
};

/* What follows something: a byte or symbol, or one of these. */
enum { LF_SPACE_LEAD = 0xE2, LF_TEXT_END = 1 << 22, LF_SEVERAL, LF_NOTHING };

static inline uint32_t lf_either(uint32_t x, uint32_t y) {
    return x == LF_NOTHING || x == y ? y : y == LF_NOTHING ? x : LF_SEVERAL;
}

typedef enum { LF_DROP, LF_KEEP_IF_WORTH, LF_KEEP } lf_keep;

/* sentencepiece's approximation of the digamma function, x > 0: by recurrence to x >= 7, then the asymptotic series. */
static inline double lf_digamma(double x) {
    double result = 0.0;
    for (; x < 7; ++x) result -= 1 / x;
    x -= 1.0 / 2.0;
    const double xx = 1.0 / x, xx2 = xx * xx, xx4 = xx2 * xx2;
    result +=
        log(x) + (1.0 / 24.0) * xx2 - (7.0 / 960.0) * xx4 + (31.0 / 8064.0) * xx4 * xx2 - (127.0 / 30720.0) * xx4 * xx4;
    return result;
}

/* The same order as of the numbers, descending. */
static inline uint64_t lf_descending(double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    return bits >> 63 ? bits : ~(bits | (uint64_t)1 << 63);
}

/* unigram_train_seeds.c */
lf_status lf_unigram_sort(lf_unigram_trainer *t, size_t part);
void lf_unigram_exact_link(lf_unigram_trainer *t, size_t part, int fill);
void lf_unigram_fast_link(lf_unigram_trainer *t, size_t part);

/* unigram_train_trie.c: the edges of fast training */
lf_status lf_unigram_fast_fill(lf_unigram_trainer *t, size_t part);
void lf_unigram_fast_compact(lf_unigram_trainer *t, size_t part);

/* unigram_train_fast.c: float64 */
lf_status lf_unigram_fast_expect(lf_unigram_trainer *t, size_t part);
lf_status lf_unigram_fast_viterbi(lf_unigram_trainer *t, size_t part);
lf_status lf_unigram_fast_loss(lf_unigram_trainer *t, size_t part);
lf_status lf_unigram_fast_shadow(lf_unigram_trainer *t, size_t part);
double lf_unigram_fast_add(lf_unigram_trainer *t);
void lf_unigram_fast_maximize(lf_unigram_trainer *t);
void lf_unigram_fast_weigh(lf_unigram_trainer *t); /* after every change of scores */

/* unigram_train_exact.c: the same in the arithmetic of sentencepiece */
lf_status lf_unigram_exact_expect(lf_unigram_trainer *t, size_t part);
lf_status lf_unigram_exact_viterbi(lf_unigram_trainer *t, size_t part);
lf_status lf_unigram_exact_loss(lf_unigram_trainer *t, uint32_t first, uint32_t end);
lf_status lf_unigram_exact_shadow(lf_unigram_trainer *t, uint32_t first, uint32_t end);
double lf_unigram_exact_add(lf_unigram_trainer *t);
void lf_unigram_exact_maximize(lf_unigram_trainer *t);

#endif
