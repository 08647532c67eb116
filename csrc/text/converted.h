/* converted.h - a Unigram model of a tokenizer.json: normalizers, a Metaspace, and the best path of each word.
 *
 * Such files are made from sentencepiece's models (T5, ALBERT, XLM-RoBERTa, mBART and their like). Spaces become a mark,
 * U+2581 as a rule, and a word begins with each mark:
 *
 *     text         "Hello  world."
 *     normalized   "Hello  world."        steps.h
 *     words        | Hello| | world.|     here marks may still be spaces, so that words are short in the cache
 *     model        |▁Hello|▁|▁world.|     unigram.h, by the rule of tokenizers
 *
 * Units. What a word's ids are depends on nothing but the word. It is cut further, where two characters of different classes
 * meet that are side by side in no piece - or whose classes are, where one is not ASCII. Classes are letters, digits, other
 * ASCII, other characters that some piece has, and aliens, which no piece has.
 *
 *     " (foo" | "," | " 中文" -> " (" | "foo" | "," | " " | "中文"
 *
 * The best path of a word goes through these places, so it is those of its units one after another, which are cached by
 * their bytes - aliens need no look: they are one unknown token. Known ones of two bytes stay with aliens of two bytes, for
 * these alphabets have words. Two things could go across a cut. A run of unknown characters is one token: where each of its
 * two parts is the unknown one, so is the whole, for no piece goes across; else the whole word is segmented. So it is
 * where the rounding of the sum so far may matter, which cannot change the path of a unit that is better than any other
 * by LF_CONVERTED_MARGIN: scores are at most 100, so a sum over a text of 2^26 bytes is below 2^33 and rounded by 2^-20 at
 * most, a score is rounded to float32 by 2^-18 at most, and a unit has at most 128 terms.
 *
 * Exactness: ids and places of tokenizers 0.23.3. Memory: the tables, and of the order of the longest text. Threads: a
 * workspace belongs to one at a time; the model is shared. */
#ifndef LF_TEXT_CONVERTED_H
#define LF_TEXT_CONVERTED_H

#include "lf.h"
#include "text/sentencepiece.h"
#include "text/steps.h"

enum { LF_CONVERTED_STEPS = 16, LF_CONVERTED_GROWTH = 16 };
#define LF_CONVERTED_MARGIN 2e-3

/* Classes of characters; a mark begins a word. */
enum {
    LF_U_MARK,
    LF_U_LETTER,
    LF_U_DIGIT,
    LF_U_OTHER,
    LF_U_KNOWN_2, /* up to U+07FF, two bytes long */
    LF_U_KNOWN,
    LF_U_ALIEN_2,
    LF_U_ALIEN,
    LF_U_CLASSES
};

typedef enum { LF_PREPEND_NEVER, LF_PREPEND_FIRST, LF_PREPEND_ALWAYS } lf_prepend;

typedef struct {
    const uint8_t *mark; /* one character, in UTF-8 */
    size_t n_mark;
    lf_prepend prepend; /* where a word that begins without a mark gets one */
    int split;          /* words begin with marks; else the text is one word */
    int by_white_space; /* the text is cut at white space before, which goes; only with LF_PREPEND_ALWAYS */
} lf_metaspace;

typedef struct {
    lf_sp *model;
    lf_metaspace metaspace;
    lf_step steps[LF_CONVERTED_STEPS];
    size_t n_steps;
    size_t growth, added;         /* ids for each byte of a text, at most, and besides ... */
    int grows;                    /* ... but that the steps might make more of it */
    uint32_t mark;                /* the mark's code point, where words begin with it */
    uint32_t mark_id;             /* the piece that is the mark alone, LF_SP_NO_ID if there is none */
    uint64_t pairs[128][2];       /* by an ASCII character, a bit for each that stands behind it in some piece */
    uint8_t joined[LF_U_CLASSES]; /* by the class of a character, a bit for each class that goes on with its unit */
    uint8_t classes[0x10000];     /* of all characters below U+10000 ... */
    uint8_t high_class;           /* ... and of all others */
    uint8_t alien[0x10000 / 64];  /* by all bytes but the last of characters of three: all of them are aliens */
    int by_units;                 /* words can be cut into units */
} lf_converted;

/* Builds a tokenizer; `parts` are those of a Unigram model by the rule of tokenizers, and all that they, the Metaspace and
 * the steps point to stays the caller's. LF_EVALUE: *where as lf_sp_new has it, or LF_SP_NO_ID - 2 for a step. */
lf_status lf_converted_new(lf_converted **c, const lf_sp_parts *parts, const lf_metaspace *metaspace,
                           const lf_step *steps, size_t n_steps, size_t *where);
void lf_converted_free(lf_converted *c);

/* Room for the ids of a text of n bytes; stores are wider than an id. Steps that could each make a text several times as
 * long hardly ever do so one after another: there is room for LF_CONVERTED_GROWTH ids a byte, and a text that could have
 * more is refused. */
static inline size_t lf_converted_bound(const lf_converted *c, size_t n) { return n * c->growth + c->added; }

/* What one thread needs, with its cache of about cache_bytes. */
typedef struct lf_converted_workspace lf_converted_workspace;
lf_status lf_converted_workspace_new(lf_converted_workspace **w, const lf_converted *c, size_t cache_bytes);
void lf_converted_workspace_free(lf_converted_workspace *w);

/* The ids of a text, which begins a document where `first`; `ids` has room for lf_converted_bound(c, n). `spans`: NULL, or
 * room for twice as many numbers: the bytes [begin, end) that each id comes from. LF_EVALUE: the text is longer than
 * LF_SP_MOST. LF_EINDEX: its ids might not find room. */
lf_status lf_converted_encode(lf_converted_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                              int64_t *spans, size_t *n_ids);

#endif
