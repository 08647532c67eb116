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
 * What a word's ids are depends on nothing but the word, so they are cached by its bytes. A character that is in no piece
 * ends every piece before it. So the best path of a word goes through both of its ends, and the parts between such
 * characters are segmented one after another, each with the sum so far.
 *
 * Exactness: ids and places of tokenizers 0.23.3. Memory: the tables, and of the order of the longest text. Threads: a
 * workspace belongs to one at a time; the model is shared. */
#ifndef LF_TEXT_CONVERTED_H
#define LF_TEXT_CONVERTED_H

#include "lf.h"
#include "text/sentencepiece.h"
#include "text/steps.h"

enum { LF_CONVERTED_STEPS = 16 };

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
    size_t growth, added; /* ids for each byte of a text, at most, and besides */
    uint8_t known[0x10000 / 8]; /* a bit for each character below U+10000 that some piece has */
} lf_converted;

/* Builds a tokenizer; `parts` are those of a Unigram model by the rule of tokenizers, and all that they, the Metaspace and
 * the steps point to stays the caller's. LF_EVALUE: *where as lf_sp_new has it, or LF_SP_NO_ID - 2 for a step. */
lf_status lf_converted_new(lf_converted **c, const lf_sp_parts *parts, const lf_metaspace *metaspace,
                           const lf_step *steps, size_t n_steps, size_t *where);
void lf_converted_free(lf_converted *c);

/* Room for the ids of a text of n bytes; stores are wider than an id. */
static inline size_t lf_converted_bound(const lf_converted *c, size_t n) { return n * c->growth + c->added; }

typedef struct lf_converted_workspace lf_converted_workspace;

lf_status lf_converted_workspace_new(lf_converted_workspace **w, const lf_converted *c, size_t cache_bytes);
void lf_converted_workspace_free(lf_converted_workspace *w);

/* The ids of a text, which begins a document where `first`; `ids` has room for lf_converted_bound(c, n). `spans`: NULL, or
 * room for twice as many numbers: the bytes [begin, end) that each id comes from. LF_EVALUE: the text is longer than
 * LF_SP_MOST, or there are spans to find behind a normal form that changes it. */
lf_status lf_converted_encode(lf_converted_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                              int64_t *spans, size_t *n_ids);

#endif
