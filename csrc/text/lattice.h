/* lattice.h - all segmentations of a text by a Unigram model: the best ones, random ones, their entropy.
 *
 * The lattice has a node for each piece at each place of the text, and for an unknown character where a character is no
 * piece on its own. A path is a sequence of nodes from the begin to the end, each where the one before it ends. The score
 * of a path is the sum of the scores of its nodes. With a temperature, given as `alpha`, the probability of a path is
 * exp(alpha score) / Z, where Z sums over all paths.
 *
 *     nodes in the order of their begins, at each place the shortest first, the unknown one last
 *     ends:  the numbers of the nodes that end at a place, in that same order: by_end[ends[at] .. ends[at + 1])
 *
 * Exactness: the nodes, their scores, and the best paths with the order of equal ones, are those of sentencepiece 0.2.3
 * (unigram_model.cc; float32, and the heap of libstdc++). Probabilities are computed in float64. Time: linear in the
 * nodes; memory 32 bytes a node and, for the best paths, at most SEARCH_MOST hypotheses. */
#ifndef LF_TEXT_LATTICE_H
#define LF_TEXT_LATTICE_H

#include "lf.h"
#include "text/sentencepiece.h"

typedef struct {
    uint32_t begin, length; /* in bytes */
    uint32_t id;            /* LF_PIECE_UNKNOWN: an unknown character */
    float score;
} lf_lattice_node;

typedef struct {
    lf_lattice_node *nodes;
    uint32_t *ends, *by_end;
    double *sums; /* by place: the log of the sum over all paths to it of exp(alpha score); lf_lattice_sum */
    size_t n_nodes, n;
} lf_lattice;

/* The lattice of a normalized text of at most 2^30 bytes. Only models by sentencepiece's rule. */
lf_status lf_lattice_new(lf_lattice *lattice, const lf_sp *model, const uint8_t *text, size_t n);
void lf_lattice_free(lf_lattice *lattice);

/* Paths: path i is nodes[offsets[i] .. offsets[i + 1]), with a score. Begins as zeros, grows. */
typedef struct {
    uint32_t *nodes;
    size_t *offsets;
    double *scores;
    size_t n_paths, n_nodes, room_offsets, room_scores, room_nodes; /* room: in bytes */
} lf_paths;
void lf_paths_free(lf_paths *paths);

/* The k best paths, the best first, with their scores. */
lf_status lf_lattice_best(const lf_lattice *lattice, size_t k, lf_paths *paths);

/* Fills lattice->sums and returns log Z. What follows asks for it. */
double lf_lattice_sum(lf_lattice *lattice, double alpha);

/* A random path, by backward sampling; its score is its log-probability. */
lf_status lf_lattice_sample(const lf_lattice *lattice, double alpha, uint64_t *state, lf_paths *paths);

/* k different random paths, as if drawn one after another without replacement (Gumbel top k, drawn from the top down; Kool,
 * van Hoof and Welling 2019). Scores are the perturbed log-probabilities, which fall; there are fewer than k where there
 * are no more paths. */
lf_status lf_lattice_sample_different(const lf_lattice *lattice, double alpha, size_t k, uint64_t *state,
                                      lf_paths *paths);

/* The log-probability of path i. */
double lf_lattice_log_probability(const lf_lattice *lattice, double alpha, const lf_paths *paths, size_t i);

/* The entropy in nats of the distribution of paths. */
lf_status lf_lattice_entropy(const lf_lattice *lattice, double alpha, double *entropy);

/* The log of the probability that a path has a node; n_nodes of them. */
lf_status lf_lattice_marginals(const lf_lattice *lattice, double alpha, double *log_probabilities);

/* The ids of path i as encoding gives them: unknown characters become bytes, or a run of them one id. `ids` has room for
 * the bytes of the text. Returns how many; SIZE_MAX where an unknown character has no id. */
size_t lf_lattice_ids(const lf_lattice *lattice, const lf_sp *model, const uint8_t *text, const lf_paths *paths,
                      size_t i, uint32_t *ids);

#endif
