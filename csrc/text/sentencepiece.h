/* sentencepiece.h - text to ids as sentencepiece does it: normalizer, BPE or Unigram, and a cache of words around them.
 *
 * Words. A text is cut into words, and each word's ids are looked up by its bytes as they stand in the text, before
 * normalization; only a word that is not known is normalized and segmented. Cuts are made before spaces and between two
 * characters that no piece has side by side: two ASCII bytes that are not both letters or both digits, or two characters
 * one of which is beyond ASCII (characters.h):
 *
 *     text          "a  (b, c)中文"   spaces kept (Llama)                  spaces collapsed (T5)
 *     words         | a|  (|b|,| c|)|中文|                                 | a| (|b|,| c|)|中文|
 *     normalized    |▁a|▁▁(|b|,|▁c|)|中文|                                 |▁a|▁(|b|,|▁c|)|中文|
 *
 * That gives the ids of the whole text because
 *   - no rule of the map of characters and no user-defined symbol goes across a cut, and characters beside one are not
 *     changed, so what a word is normalized to does not depend on its neighbours but for white space at its ends;
 *   - no piece goes across a cut. Where a few pieces have a character before a space, and where a word ends in white space
 *     after normalization or vanishes, the word is odd: it is taken together with what follows, up to the end of a word
 *     before a space that is not odd, and the whole stretch is normalized and segmented;
 *   - a run of unknown characters, which has one id, may go across a cut; where a word begins or ends with one, the ids
 *     before it decide whether its first is given;
 *   - with Unigram by sentencepiece's rule, the rounding of the sum so far cannot change the path of the word
 *     (unigram.h has the argument; the cache keeps how large that sum may be, and the sum is followed exactly).
 *
 * A run of characters that are alone, as most are of a script that the vocabulary hardly knows, is a word that is not
 * looked up: each has the id that the table of characters tells, or is unknown.
 *
 * Models and options of which this cannot be said are segmented whole.
 *
 * Exactness: ids of sentencepiece 0.2.3. Memory: the workspace's tables,
 * and of the order of the longest word or, where a text is segmented whole, of the text. Threads: a workspace belongs to
 * one at a time; the model is shared. */
#ifndef LF_TEXT_SENTENCEPIECE_H
#define LF_TEXT_SENTENCEPIECE_H

#include "lf.h"
#include "text/characters.h"
#include "text/charsmap.h"
#include "text/scored_bpe.h"
#include "text/sp_normalizer.h"
#include "text/unigram.h"

#define LF_SP_MOST 0x7FFFFFFFu /* bytes of a text */
#define LF_SP_NO_ID 0xFFFFFFFFu

typedef enum { LF_SP_BPE, LF_SP_UNIGRAM } lf_sp_family;

/* What a model is made of. All arrays are indexed by id and stay the caller's; an id that no piece has is of kind 0 and
 * empty. */
typedef struct {
    const uint8_t *blob;
    const int64_t *offsets; /* piece i is blob[offsets[i] .. offsets[i + 1]) */
    const double *scores;
    const uint8_t *kinds; /* piece_kinds.h */
    uint32_t n_ids;
    uint32_t unknown_id; /* LF_SP_NO_ID: there is none */
    int byte_fallback;
    lf_sp_family family;
    lf_unigram_rule rule;
    const uint8_t *charsmap;
    size_t n_charsmap;
    lf_sp_options options;
} lf_sp_parts;

typedef struct {
    lf_sp_parts parts;
    lf_charsmap *charsmap;
    lf_double_array symbols;
    int has_symbols;
    lf_sp_normalizer normalizer;
    lf_scored_bpe bpe;
    lf_unigram unigram;
    float *float_scores;
    double *piece_scores;
    float *sums;           /* what each id that is given adds to the sum of a line; LF_RULE_SENTENCEPIECE */
    uint32_t bytes[256];   /* the ids of bytes */
    int has_bytes;         /* ... which there are all */
    size_t growth;         /* ids for each byte of a text, at most */
    int by_words;          /* the text can be cut into words */
    uint8_t spaces[8];     /* the bytes that become a space ... */
    size_t n_spaces;       /* ... and how many */
    uint8_t is_space[256]; /* the same as a table */
    uint8_t to[128]; /* what an ASCII byte is normalized to, 0 where that is not one ASCII byte that is no space */
    uint64_t cuts[128][2]; /* bit b of row a: cut between these two ASCII bytes */
    uint64_t bound_high;   /* all bits set: a rule may take an ASCII byte with bytes >= 0x80 that follow it */
    uint32_t marker_id;    /* of the marker as a piece */
    lf_characters characters;
    /* Bits of 64 characters each, by what comes before the last 6 bits of a code point: which are alone, of 2 bytes and of 3;
     * which of 2 bytes are plain and not alone, as letters are that words are made of. */
    uint64_t alone_2[32], alone_3[1024], letters_2[32];
    uint32_t ascii[128];   /* what `characters` tells of ASCII */
    uint8_t crossing[512]; /* a bit by hash of a character: some piece has it before a marker */
} lf_sp;

/* Builds a model. LF_EVALUE: *where says what is wrong: below n_ids, that piece (given twice, or a score that is no number);
 * n_ids + k, byte k of the charsmap; LF_SP_NO_ID, unknown characters have no id; LF_SP_NO_ID - 1, too many pieces. */
lf_status lf_sp_new(lf_sp **model, const lf_sp_parts *parts, size_t *where);
void lf_sp_free(lf_sp *model);

/* Room for the ids of a text of n bytes; stores are wider than an id. */
static inline size_t lf_sp_bound(const lf_sp *model, size_t n) { return (n + 1) * model->growth + 8; }

/* The bit of a character in lf_sp.crossing. */
static inline unsigned lf_sp_crossing_bit(const uint8_t *p, size_t n) {
    uint32_t c = 0;
    for (size_t i = 0; i < n; i++) c = c << 8 | p[i];
    return (uint32_t)(c * 0x9E3779B1u) >> 20;
}

/* What one thread needs, with its cache of about cache_bytes. */
typedef struct lf_sp_workspace lf_sp_workspace;
lf_status lf_sp_workspace_new(lf_sp_workspace **w, const lf_sp *model, size_t cache_bytes);
void lf_sp_workspace_free(lf_sp_workspace *w);

/* The ids of a text; `ids` has room for lf_sp_bound(model, n). `first`: the text begins a document; the space that the
 * options put before a text is put there only. LF_EVALUE: it is longer than LF_SP_MOST, or has characters without an id. */
lf_status lf_sp_encode(lf_sp_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids, size_t *n_ids);

/* The same with the place in the text that each id comes from: spans[2 i] to spans[2 i + 1]. Not by words. */
lf_status lf_sp_encode_traced(lf_sp_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                              int64_t *spans, size_t *n_ids);

/* BPE with dropout: each merge is passed over with that probability. */
lf_status lf_sp_encode_dropout(lf_sp_workspace *w, const uint8_t *text, size_t n, lf_scored_chance *chance,
                               uint32_t *ids, size_t *n_ids);

#endif
