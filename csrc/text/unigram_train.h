/* unigram_train.h - learning the pieces and scores of a Unigram model from counted words.
 *
 * Definition. A word is a row of symbols, its characters. A model gives pieces (rows of symbols) probabilities; a word's
 * probability is the sum over all its segmentations of the product of their pieces'. Training begins with too many pieces,
 * the repeated substrings of the words, and goes in rounds: expectation-maximization of the corpus' log-likelihood, then
 * the pieces are dropped whose loss costs the least of it.
 *
 * The words lie in one array of slots, each followed by 0; the suffixes that can begin a piece are sorted by a radix sort
 * of packed symbols, a bucket for each first symbol. The nodes of their suffix tree are the seeds. A walk over the sorted
 * suffixes also knows which seeds each slot begins, so segmentation never looks up a string:
 *
 *     slot     |  _   t   h   e  0 | _   t ...
 *     edge_at  |  0   3   5 ...                where the edges of a slot begin; at the 0, where those of the word end
 *     edges    |  _  _t  _the | t  th | ...    each: piece (21 bits) | last of its slot (1) | length (10)
 *
 * Fast training has them by the slots where pieces end, and those of what words have in common once: see
 * unigram_train_trie.c. Dropped pieces are taken out of the edges before the next pass, so a pass costs what the current
 * model costs. (Fast training leaves a few that `maximize` drops, without probability, where to take them out costs more.)
 *
 * Two kinds of arithmetic. Fast: float64, probabilities scaled by a constant for each symbol so that a product stays near
 * 1, words in fixed blocks whose sums are added in order. Exact: that of sentencepiece 0.2.3, float32 logarithms in its
 * order of operations, with `n_sums` sums as its `num_threads` has.
 *
 * Work is in parts that may run at the same time: for each stage lf_unigram_parts says how many there are, lf_unigram_run
 * does one. Results never depend on who runs what. The order of stages:
 *
 *     SORT  select  LINK  lay  FILL  begin
 *         ( (EXPECT add maximize COMPACT)*  VITERBI add LOSS prune COMPACT )*  SHADOW reach
 *
 * Complexity: n log n in the slots for the seeds; a pass is linear in the edges, which are at most the slots times the
 * longest piece. Memory: 4 bytes an edge, 14 a slot, 24 a seed. Source of the idea: T. Kudo, Subword Regularization
 * (2018); of the exact arithmetic: sentencepiece's unigram_model_trainer.cc; edges from the walk over suffixes and the
 * trie are this library's. */
#ifndef LF_TEXT_UNIGRAM_TRAIN_H
#define LF_TEXT_UNIGRAM_TRAIN_H

#include "lf.h"

enum {
    LF_UNIGRAM_MOST_PIECES = (1 << 21) - 2,
    LF_UNIGRAM_LONGEST = 512, /* symbols of a piece */
};

typedef struct {
    int exact;                /* the arithmetic and order of sentencepiece */
    uint32_t n_sums;          /* exact: its num_threads                     */
    size_t seed_size;         /* how many seeds beside the characters       */
    uint32_t max_length;      /* symbols of a piece                         */
    uint32_t least_closed;    /* so often occurs a seed that could be longer nowhere; exact: 2 */
    int split_by_script;      /* no piece has characters of two scripts ... */
    int split_by_number;      /* ... of which digits are one of their own   */
    int split_digits;         /* a digit is a piece alone                   */
    int split_by_whitespace;  /* U+2581 stands only at the beginning (end)  */
    int whitespace_as_suffix; /* ... at the end                             */
    int whitespace_only;      /* pieces of U+2581 only are allowed          */
    int in_order;             /* exact: words stay in their order, equal ones apart */
    /* The alphabet: code points, rising, and the script of each (0: Common, 1: inherited, any other number). A character
     * of the words that is not there is unknown and in no piece. U+2585, if there, is taken out. */
    const uint32_t *characters;
    const uint8_t *scripts;
    size_t n_characters;
} lf_unigram_rules;

enum { LF_SCRIPT_COMMON = 0, LF_SCRIPT_INHERITED = 1 };

typedef struct lf_unigram_trainer lf_unigram_trainer;

/* A trainer for words: word i, UTF-8, is blob[offsets[i] .. offsets[i + 1]) and occurs counts[i] > 0 times. Exact training
 * asks what follows, because sentencepiece's seeds depend on it: a mark behind the word says so, which is no part of it.
 *
 *     nothing          U+2581
 *     \n               the end of a sentence, and then one that begins with U+2581, but for the very last: that is `last`,
 *                      without a mark; NULL if there is none
 *     \n C             the character C, in the same sentence
 *     \n\n C (D)       the end of a sentence, and then one that begins with C, or C and D where it occurs twice; a newline
 *                      for C or D stands for the end of the text
 *
 * LF_EVALUE: counts[*where] is below 1; or all counts times lengths reach 2^63 (*where = n_words), or there are 2^32 - 2
 * slots (*where = n_words + 1), or n_characters + seed_size or max_length are too large (*where = n_words + 2). */
lf_status lf_unigram_new(lf_unigram_trainer **trainer, const lf_unigram_rules *rules, const uint8_t *blob,
                         const int64_t *offsets, const int64_t *counts, size_t n_words, const uint8_t *last,
                         size_t n_last, size_t *where);
void lf_unigram_free(lf_unigram_trainer *trainer);

typedef enum {
    LF_UNIGRAM_SORT,    /* sorts suffixes and finds the seeds                                                 */
    LF_UNIGRAM_LINK,    /* counts the edges of the slots                                                      */
    LF_UNIGRAM_FILL,    /* writes them                                                                        */
    LF_UNIGRAM_EXPECT,  /* how often each piece is expected to occur                                          */
    LF_UNIGRAM_COMPACT, /* takes dropped pieces out of the edges                                              */
    LF_UNIGRAM_VITERBI, /* how often each piece occurs in the best segmentations                              */
    LF_UNIGRAM_LOSS,    /* how much log-likelihood a token each piece is worth                                */
    LF_UNIGRAM_SHADOW,  /* which pieces are never part of a best segmentation, since others spell them better */
    LF_UNIGRAM_N_STAGES
} lf_unigram_stage;

/* How many parts a stage has now, and the doing of one of them. */
size_t lf_unigram_parts(const lf_unigram_trainer *trainer, lf_unigram_stage stage);
lf_status lf_unigram_run(lf_unigram_trainer *trainer, lf_unigram_stage stage, size_t part);

/* The steps between stages; LF_EVALUE where what comes before was not done. `select` takes the best seeds and gives
 * pieces their first scores; `lay` finds room for the edges (LF_EINDEX: there are 2^32 or more). `begin` forgets what only
 * the seeds needed. `add` adds up what EXPECT or VITERBI counted, and the log-likelihood of all words or that of their best
 * segmentations. `maximize` sets scores by expectations and drops pieces expected less than half a time. `prune` keeps
 * the `target` pieces of the greatest loss. `reach` drops the pieces that SHADOW found. */
lf_status lf_unigram_select(lf_unigram_trainer *trainer);
lf_status lf_unigram_lay(lf_unigram_trainer *trainer);
lf_status lf_unigram_begin(lf_unigram_trainer *trainer);
lf_status lf_unigram_add(lf_unigram_trainer *trainer, double *log_likelihood);
lf_status lf_unigram_maximize(lf_unigram_trainer *trainer);
lf_status lf_unigram_prune(lf_unigram_trainer *trainer, size_t target);
lf_status lf_unigram_reach(lf_unigram_trainer *trainer);

/* How many pieces have a probability. */
size_t lf_unigram_alive(const lf_unigram_trainer *trainer);

/* How many pieces there are, those without a probability included, whose score is -inf (there are none after `prune` and
 * `reach`); and how many bytes they have as UTF-8. */
size_t lf_unigram_size(const lf_unigram_trainer *trainer, size_t *n_bytes);

/* Writes them: piece i is blob[offsets[i] .. offsets[i + 1]), its score scores[i]. numbers[i] is what was counted of it last,
 * expectations or occurrences, and losses[i] its loss. */
void lf_unigram_pieces(const lf_unigram_trainer *trainer, uint8_t *blob, int64_t *offsets, double *scores,
                       double *numbers, double *losses);

/* How often each code point occurs in words, counts[c] for c < 0x110000; marks are not counted. A byte
 * that is part of no character is U+FFFD. The counts times the lengths are below 2^63. */
void lf_unigram_count_characters(const uint8_t *blob, const int64_t *offsets, const int64_t *word_counts,
                                 size_t n_words, int64_t *counts);

#endif
