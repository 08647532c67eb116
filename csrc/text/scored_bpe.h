/* scored_bpe.h - sentencepiece's byte-pair encoding: pieces with scores in place of merges.
 *
 * Definition. Start from the characters, or from user-defined pieces where one stands, which never merge. While some two
 * neighbours joined are a piece, join those whose piece has the highest score, the leftmost of several. A piece that is
 * marked as unused may be formed but not given: it is taken apart again into the two it was joined from.
 *
 * Symbols are numbers: a piece's id, or a number past all ids for a character of some piece that is no piece on its own.
 * A table knows which two symbols join and to what. Ranks order scores, highest first, equal scores alike.
 *
 * Only one pair per piece matters. What happens inside the bytes of a piece that ends up whole does not depend on what
 * stands around them: of the pairs inside, those that come first there come first everywhere. So a piece always forms from
 * the same last pair, the one that its bytes alone end in, and a small table of these pairs serves. Where merges are
 * passed over by chance, or unused pieces can be joined in several ways, all pairs matter.
 *
 * Cuts. Where two characters meet that no piece has side by side, nothing joins across, so a text falls apart there.
 *
 * Exactness: sentencepiece 0.2.3, bpe_model.cc. Time: n log n in the characters between two cuts. */
#ifndef LF_TEXT_SCORED_BPE_H
#define LF_TEXT_SCORED_BPE_H

#include "lf.h"
#include "text/double_array.h"
#include "text/pairs.h"

#define LF_SCORED_MAX_SYMBOLS (1u << 21)
#define LF_SCORED_CUT_BITS 19
#define LF_SCORED_FEW 32 /* symbols of a text whose best pair is found by looking at all */

typedef struct {
    lf_double_array pieces;         /* mergeable pieces and lone characters; values are symbols */
    const lf_double_array *symbols; /* user-defined pieces, NULL if there are none */
    const uint8_t *kinds;           /* by id */
    uint32_t n_ids, n_symbols;
    uint32_t *ranks;                /* by symbol */
    lf_pairs all;                   /* every way of joining two symbols to a piece */
    lf_pairs last;                  /* the ones that pieces form from */
    uint32_t *taken_apart;          /* by id, two each: the symbols that an unused piece is joined from */
    int ambiguous;                  /* some unused piece can be joined in several ways: no part stands alone then */
    uint32_t below[0x800];          /* symbols of characters of one and two bytes, LF_UNIT_NONE where no piece has it */
    uint32_t ascii_pairs[128][128]; /* what two of those of one byte join to, by `last` */
    uint8_t *late;                  /* a bit by id: the piece comes behind those without, which come by their ids */
    uint8_t *joined;                /* a bit by hash of two characters: they are side by side in some piece */
} lf_scored_bpe;

/* Pieces in the order of their ids 0..n_ids: blob[offsets[i] .. offsets[i + 1]), empty where an id has none. The kinds stay
 * the caller's. LF_EVALUE: too many symbols, or a piece given twice (*where is its id). */
lf_status lf_scored_bpe_new(lf_scored_bpe *m, const uint8_t *blob, const int64_t *offsets, const float *scores,
                            const uint8_t *kinds, uint32_t n_ids, const lf_double_array *symbols, size_t *where);
void lf_scored_bpe_free(lf_scored_bpe *m);

/* A symbol of a text that is being merged. */
typedef struct {
    uint32_t symbol; /* LF_UNIT_NONE: a character that no piece has */
    uint32_t length; /* in bytes; 0: joined to the one before it */
    uint32_t next, before;
} lf_scored_node;

typedef struct {
    uint64_t key; /* rank (32) | number of the left node (32): the smallest comes first */
    uint32_t left_symbol, right_symbol;
} lf_scored_entry;

/* What one thread needs; begins as zeros, grows with use. */
typedef struct {
    lf_scored_node *nodes;
    lf_scored_entry *heap;
    uint32_t *apart; /* as taken_apart, of this text: where a model is ambiguous */
    size_t n_nodes, n_heap;
} lf_scored_scratch;

/* Chance: a generator and the probability of passing a merge over. */
typedef struct {
    uint64_t state;
    double dropout;
} lf_scored_chance;

/* Merges a stretch of text, at most 2^31 bytes. Leaves its symbols in scratch->nodes, from node 0 on by `next`
 * (UINT32_MAX ends it). `chance` is NULL where no merge is passed over. */
lf_status lf_scored_bpe_merge(const lf_scored_bpe *m, const uint8_t *text, size_t n, lf_scored_scratch *scratch,
                              lf_scored_chance *chance);
/* The same, merges never passed over, of a text of at most LF_SCORED_FEW symbols: returns how many are left, and where each
 * starts, with the end of the text behind. symbols[LF_SCORED_FEW], starts[LF_SCORED_FEW + 1]. 0: there are more, or the model is
 * ambiguous. */
uint32_t lf_scored_bpe_merge_few(const lf_scored_bpe *m, const uint8_t *text, size_t n, uint32_t *symbols,
                                 uint32_t *starts);
void lf_scored_scratch_free(lf_scored_scratch *scratch);

/* The first place after `from`, where a character begins, at which the text falls apart; n if there is none. */
size_t lf_scored_bpe_cut(const lf_scored_bpe *m, const uint8_t *text, size_t n, size_t from);

/* A number of up to four bytes for a character. */
static inline uint32_t lf_scored_character(const uint8_t *p, size_t width) {
    uint32_t c = p[0];
    for (size_t i = 1; i < width; i++) c = c << 8 | p[i];
    return c;
}
static inline uint32_t lf_scored_cut_bit(uint32_t left, uint32_t right) {
    return (uint32_t)((((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u) >> (64 - LF_SCORED_CUT_BITS));
}

#endif
