/* stack.h - any stack of a tokenizer.json whose words are encoded one by one: normalizers, pre-tokenizers, a model.
 *
 *     text         "He's 42."
 *     normalized   "he's 42."              steps.h, each on the whole text
 *     stages       |he|'|s|42|.|           each on every piece that the one before it made
 *     model        ids of each word        word_bpe.h or wordpiece.h, and word_cache.h, which has nearly all of them
 *
 * A stage cuts at the matches of a table (automaton.h): patterns, punctuation, digits, white space, scripts are all tables.
 * Stages go depth first, so nothing is kept between them. But one that changes its piece, with a mark for each space and one
 * before it, writes all that it makes to a text of its own, which the stages behind it cut.
 *
 * Behind a ByteLevel the words are those bytes that it has stand-ins for, and so are the tokens.
 *
 * Exactness: ids and places of tokenizers 0.23.3. Time: linear, but for patterns that look far ahead in vain and for BPE's
 * n log n in a word. Memory: the cache, and of the order of the longest text. Threads: a workspace belongs to one at a time;
 * the model is shared. */
#ifndef LF_TEXT_STACK_H
#define LF_TEXT_STACK_H

#include "lf.h"
#include "text/automaton.h"
#include "text/converted.h" /* lf_prepend */
#include "text/steps.h"
#include "text/word_bpe.h"
#include "text/wordpiece.h"

enum { LF_STACK_STEPS = 24, LF_STACK_STAGES = 16, LF_STACK_GROWTH = 8 };

/* What becomes of a match: see lmfast/text/spec/split.py. */
typedef enum {
    LF_CUT_ISOLATED,
    LF_CUT_REMOVED,
    LF_CUT_WITH_PREVIOUS,
    LF_CUT_WITH_NEXT,
    LF_CUT_CONTIGUOUS,
    LF_N_CUTS
} lf_cut;

typedef struct {
    lf_automaton automaton; /* the table NULL: the stage changes its piece */
    lf_cut cut;
    int invert;          /* what lies between matches is one */
    const uint8_t *mark; /* stands for a space; n_mark bytes of one character */
    size_t n_mark;
    lf_prepend prepend; /* where a piece that begins without a mark gets one */
} lf_stage;

/* What a tokenizer is made of; one of the models. */
typedef struct lf_stack {
    lf_step steps[LF_STACK_STEPS];
    lf_stage stages[LF_STACK_STAGES];
    size_t n_steps, n_stages;
    lf_wordpiece *pieces;
    lf_word_bpe *bpe;
    uint32_t n_ids;
    size_t growth, added; /* ids for each byte of a text, at most, and besides */
} lf_stack;

/* Makes the steps of a stack that was zeros before it was filled; automata and models are made already, and lf_stack_free
 * gives all back. LF_EVALUE: a step is not as it has to be. */
lf_status lf_stack_init(lf_stack *stack);
void lf_stack_free(lf_stack *stack);

/* Room for the ids of a text of n bytes. A text that could have more is refused. */
static inline size_t lf_stack_bound(const lf_stack *stack, size_t n) { return n * stack->growth + stack->added; }

typedef struct lf_stack_workspace lf_stack_workspace;
/* The workspace of one thread at a time; its cache has about so many bytes. */
lf_status lf_stack_workspace_new(lf_stack_workspace **w, const lf_stack *stack, size_t cache_bytes);
void lf_stack_workspace_free(lf_stack_workspace *w);

/* The ids of a text, which begins a document where `first`; `ids` has room for lf_stack_bound(stack, n). `spans`: NULL, or
 * room for twice as many numbers: the bytes [begin, end) that each id comes from. LF_EVALUE: a word has no id, or the text is
 * longer than LF_SP_MOST. LF_EINDEX: the ids might not find room. */
lf_status lf_stack_encode(lf_stack_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                          int64_t *spans, size_t *n_ids);

/* The words themselves, one after another, and where each ends; begins as zeros and grows. A stack for this needs no model,
 * its workspace no cache, and there are no steps. Text is any bytes (automaton.h). */
typedef struct {
    uint8_t *bytes;
    int64_t *ends;
    size_t n, room, n_words, ends_room; /* room: in bytes */
    /* NULL: all words of a text are kept. Else it is called with `taker` when there are many and at the end, and they go. */
    lf_status (*take)(void *taker);
    void *taker;
} lf_stack_words;

/* LF_EVALUE: the text is longer than LF_SP_MOST; else what `take` says. */
lf_status lf_stack_split(lf_stack_workspace *w, const uint8_t *text, size_t n, lf_stack_words *words);
/* Gives the memory back. */
void lf_stack_words_free(lf_stack_words *words);

#endif
