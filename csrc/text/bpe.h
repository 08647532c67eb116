/* bpe.h - byte-pair encoding of one piece: the model, built once and shared by all threads.
 *
 * Definition. Start from the bytes. While some two neighbours form a merge, apply the strongest merge (lowest rank), the
 * leftmost where it occurs more than once. A rank file has one merge for every token and every way of cutting it into
 * two tokens, with the token's id as rank; a merge list names the pairs in order of rank.
 *
 * Only one pair per token matters. What happens inside the bytes of a token t that ends up whole does not depend on
 * what stands around them, so t always forms from the same last pair: the one that the bytes of t alone end in. A token
 * that its own bytes do not end in never forms at all. The model keeps that pair for each token that has one and
 * numbers tokens by the rank of it:
 *
 *     symbol 0..255            the bytes
 *     symbol 256 + i           the token of the merge of rank order i     (so: lower symbol = earlier merge)
 *
 * Exactness: the ids of the definition, for any vocabulary. Limits: LF_BPE_MAX_SYMBOLS symbols. */
#ifndef LF_TEXT_BPE_H
#define LF_TEXT_BPE_H

#include "lf.h"
#include "text/pairs.h"
#include "text/trie.h"

#define LF_BPE_MAX_SYMBOLS (1u << 21)
#define LF_NO_ID 0xFFFFFFFFu

/* The longest symbol that a text begins with, and the next shorter one that a symbol begins with. */
typedef struct lf_bpe_prefixes {
    lf_trie trie;      /* values are symbols */
    uint32_t *shorter; /* per symbol, LF_NO_SYMBOL if none */
} lf_bpe_prefixes;

typedef struct {
    /* Tokens in the order given. */
    const uint8_t *blob; /* token t is blob[offsets[t] .. offsets[t + 1]) */
    const int64_t *offsets;
    const uint32_t *ids;
    size_t n_tokens;
    size_t longest;        /* bytes in the longest token */
    uint64_t *token_slots; /* hash table by bytes: hash (32) | token number + 1 (32); 1 << token_bits slots */
    unsigned token_bits;
    int lacks_bytes;  /* some byte that UTF-8 never has is no token */
    int whole_pieces; /* a piece that is a token is that token */
    int all_form;     /* every token forms from its bytes by merging */
    uint8_t *forms;   /* a bit a token: it forms */

    /* Symbols. */
    uint32_t n_symbols;
    uint32_t *symbol_tokens; /* the token, LF_NO_SYMBOL for an unused number         */
    uint32_t *symbol_ids;    /* the token's id, LF_NO_ID for an unused number        */
    int ids_follow;          /* but for bytes, an id is id_shift more than its symbol (mod 2^32): so it mostly is  */
    uint32_t id_shift;
    uint32_t *symbol_lengths;   /* bytes                                                */
    uint32_t *left, *right;     /* the pair a symbol forms from; a byte forms from itself */
    lf_pairs pairs;             /* ... and the symbol that it forms                        */
    uint32_t byte_pairs[65536]; /* the symbol of two bytes, first byte low; LF_NO_SYMBOL if none */

    /* For long pieces, if there come to be many: made by the first thread that has met enough of them. */
    struct lf_bpe_prefixes **prefixes;

    /* Tokens out of order: a part of theirs forms by a weaker merge than their own. Trained vocabularies have none or, where
     * two were put together, a few. Backtracking is exact for pieces that contain none of their byte strings. */
    lf_trie odd;
    size_t n_odd;
    uint8_t odd_first_two[8192]; /* a set bit: some odd token begins with these two bytes */

    /* Cuts: two characters (or two bytes) next to each other inside some token have their bit set. Where no token
     * holds the pair, no merge crosses, so a piece may be cut there. */
    uint8_t *joined_characters; /* 1 << LF_BPE_CUT_BITS bits, by hash of both characters */
    uint8_t joined_bytes[8192]; /* for a token that begins or ends inside a character */
} lf_bpe;

#define LF_BPE_CUT_BITS 20
#define LF_BPE_CUT_BEFORE 0x9E3779B1u
#define LF_BPE_CUT_AFTER 0x85EBCA77u

/* Builds a model. The token arrays stay the caller's and must outlive it. `merges` is n_merges pairs of token numbers
 * (not ids) in rank order, or NULL for a rank file, whose tokens must be given by rising rank.
 * LF_EVALUE: a byte that is no token though UTF-8 has it (*where = n_tokens + byte) or a token given twice (*where = its number).
 * LF_EINDEX: merge *where whose tokens joined are no token. */
lf_status lf_bpe_new(lf_bpe **model, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids, size_t n_tokens,
                     const uint32_t *merges, size_t n_merges, int whole_pieces, size_t *where);
void lf_bpe_free(lf_bpe *model);

/* The offset of the first byte that is no token, n if there is none. Only bytes that UTF-8 never has may be missing, so
 * only text that is not UTF-8 need be asked about; its ids cannot be had where there is one. */
size_t lf_bpe_unknown_byte(const lf_bpe *model, const uint8_t *text, size_t n);

/* Whether a token forms from its bytes by merging. */
static inline int lf_bpe_forms(const lf_bpe *model, uint32_t token) { return model->forms[token / 8] >> token % 8 & 1; }

/* The number of the token with these bytes, or LF_NO_SYMBOL. */
uint32_t lf_bpe_find(const lf_bpe *model, const uint8_t *bytes, size_t n);

/* What one thread needs to merge with a model: begins as zeros, grows with use. */
typedef struct {
    void *buffer;
    size_t n_buffer;
    size_t n_long;       /* bytes of long pieces merged so far */
    uint64_t memo[1024]; /* answers about pairs of symbols: left (21) | right (21) | known (1) | answer (1) */
} lf_bpe_scratch;

/* The ids of a piece by merging alone; returns how many, at most n, or 0 if there is no memory. Time: linear in n, or n
 * log n for a piece that contains an odd token. */
size_t lf_bpe_merge(const lf_bpe *model, const uint8_t *piece, size_t n, uint32_t *ids, lf_bpe_scratch *scratch);

/* The first place after `from`, where a character begins, at which the text may be cut since no merge can cross; n if
 * there is none. */
size_t lf_bpe_next_cut(const lf_bpe *model, const uint8_t *text, size_t n, size_t from);

/* All such places of a text of n >= 1 bytes, each plus `base`; returns how many. `cuts` has room for n. */
size_t lf_bpe_cuts(const lf_bpe *model, const uint8_t *text, size_t n, uint32_t base, uint32_t *cuts);

/* The bits of two neighbours in joined_bytes and joined_characters: bytes, and all bytes of characters of up to four as a number,
 * the first one lowest. */
static inline size_t lf_bpe_byte_pair_bit(uint8_t last, uint8_t first) { return (size_t)last << 8 | first; }

static inline size_t lf_bpe_cut_bit(uint32_t before, uint32_t after) {
    return (before * LF_BPE_CUT_BEFORE + after * LF_BPE_CUT_AFTER) >> (32 - LF_BPE_CUT_BITS);
}

/* Whether a text may be cut between two characters, of which one ends with `last` and the other begins with `first`. A byte
 * that is ill-formed UTF-8 is a character of its own, or part of what is taken for one: only its bit in joined_bytes counts. */
static inline unsigned lf_bpe_is_cut(const lf_bpe *m, uint32_t before, uint32_t after, uint8_t last, uint8_t first) {
    const size_t bytes = lf_bpe_byte_pair_bit(last, first), characters = lf_bpe_cut_bit(before, after);
    return ~(m->joined_bytes[bytes / 8] >> bytes % 8 | m->joined_characters[characters / 8] >> characters % 8) & 1u;
}

#endif
