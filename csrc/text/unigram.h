/* unigram.h - the segmentation of a text into pieces with the largest sum of scores.
 *
 * Definition. best(0) = 0; best(j) = max over pieces text[i..j) of best(i) + score(piece), where i runs over the begins
 * of characters. A character that is no piece on its own may also be an unknown one, at the least score minus 10. Of
 * equal sums the one found first stays: smaller i, so the longer last piece.
 *
 * Two ways of adding up make two rules, which differ where sums are almost equal:
 *   - sentencepiece 0.2.3 (unigram_model.cc, EncodeOptimized) adds in float32 from the begin of the line, and when a sum
 *     leaves +-100000 takes it off all sums. A user-defined piece of n bytes scores 0.1 (n - 1).
 *   - tokenizers 0.23.3 (models/unigram/model.rs, encode_optimized) adds in float64 from the begin of the word.
 *
 * A word and its margin. Where no piece crosses the ends of a word, its best path stands apart from the rest of the line,
 * but for the rounding of float32, which depends on the sum so far. Rounding is monotonic, so the rule finds the path
 * whose rounded sum is largest. A rounded sum of c terms, all partial sums below 2^(k+24), is within c 2^(k-1) of the
 * true one. So where the best path beats every other by more than c 2^k, it is the rule's path, whatever the line before
 * it. lf_unigram_word finds both the path and the sums so far up to which that holds. It goes from the end of the word to
 * its begin: all ways from a place are then compared in registers, and the path is told from its begin.
 *
 * Time: linear in the text times the longest piece. Memory: a node a byte. */
#ifndef LF_TEXT_UNIGRAM_H
#define LF_TEXT_UNIGRAM_H

#include "lf.h"
#include "text/double_array.h"

#define LF_UNIGRAM_RESET 100000.0f /* sums past this are taken off */
#define LF_PIECE_UNKNOWN LF_UNIT_NONE

typedef enum { LF_RULE_SENTENCEPIECE, LF_RULE_TOKENIZERS } lf_unigram_rule;

typedef struct {
    lf_double_array pieces; /* values are ids */
    const double *scores;   /* by id, user-defined pieces as the rule scores them */
    double unknown; /* the score of an unknown character, which is less than that of any piece but a user-defined one */
    double largest; /* no score is further from 0 */
    lf_unigram_rule rule;
    /* For lf_unigram_word: the scores in float32, and behind the last the one of a node where no piece ends, -INFINITY. */
    float *narrow;
    uint32_t n_ids;
} lf_unigram;

/* Makes `narrow` of a model of n_ids pieces that is whole but for that, and gives it back. */
lf_status lf_unigram_prepare(lf_unigram *m, uint32_t n_ids);
void lf_unigram_drop(lf_unigram *m);

/* The best path to a place in the text, and its last piece, or from a place to the end, and its first. */
typedef struct {
    double score;
    double second;   /* lf_unigram_word: the next best sum that leaves the best path here */
    uint32_t length; /* 0: no path leads here */
    uint32_t id;     /* LF_PIECE_UNKNOWN: one unknown character */
} lf_unigram_node;

/* The best path of a text after a sum of `before`, by the model's rule. `nodes` has room for n + 1; the pieces of the path
 * begin with nodes[0], each where the one before it ends, as length and id. Returns the sum. */
double lf_unigram_best(const lf_unigram *m, const uint8_t *text, size_t n, double before, lf_unigram_node *nodes);

/* The best path of a word, which is UTF-8, by exact sums of scores in float32, and by how much it is better than any other.
 * *limit is the largest |sum before| for which it is the path of the rule of sentencepiece, negative where there is none. */
double lf_unigram_word(const lf_unigram *m, const uint8_t *word, size_t n, lf_unigram_node *nodes, float *limit);

#endif
