/* unigram_train_fast.c - the passes of fast training, in float64.
 *
 * Words are nodes of a trie (unigram_train_trie.c), and a pass goes through it once, with a stack for the path to the
 * current node. Its forward sum is complete when a node is reached. A node is left when all words that go on from it are
 * done; then its backward sum is complete too, and goes to the nodes where its edges begin. So what words have in common
 * is computed once, with their counts together.
 *
 * Sums are products of probabilities, each piece's times exp(scale) for each of its symbols. `scale` is the mean cost of
 * a symbol under the last model, so they stay near 1 and no logarithm is taken but one a word. In a long word they may
 * still drift; it is computed alone, and sums are divided by themselves where they leave [1e-100, 1e100].
 *
 * Exactness: sums are added in a fixed order, whatever the number of threads. */
#include "text/unigram_train_state.h"

enum { SHORT = 64 }; /* symbols of a word that is not looked after */

/* The path to a node: `from[k]` are the edges to its k-th symbol. */
typedef struct {
    const uint32_t **from;
    double *alpha, *beta, *divisors;
    uint32_t *divided, *back;
    uint32_t depth;       /* of the stack */
    const uint32_t *next; /* edges */
} path;

static int path_new(path *x, const lf_unigram_trainer *t, const lf_word_part *part) {
    size_t n = SHORT + 1;
    for (uint32_t i = part->first_word; i < part->end_word; i++)
        if (t->word_at[i + 1] - t->word_at[i] > n) n = t->word_at[i + 1] - t->word_at[i];
    memset(x, 0, sizeof *x);
    x->from = malloc(n * sizeof *x->from);
    x->alpha = malloc(n * sizeof *x->alpha);
    x->beta = malloc(n * sizeof *x->beta);
    x->divisors = malloc(n * sizeof *x->divisors);
    x->divided = malloc(n * sizeof *x->divided);
    x->back = malloc(n * sizeof *x->back);
    x->next = part->edges;
    return x->from && x->alpha && x->beta && x->divisors && x->divided && x->back;
}

static void path_free(path *x) {
    free((void *)x->from), free(x->alpha), free(x->beta), free(x->divisors), free(x->divided), free(x->back);
}

static inline uint32_t length_of(uint32_t edge) { return edge & LF_EDGE_LENGTH; }
static inline uint32_t piece_of(uint32_t edge) { return edge >> LF_EDGE_PIECE; }

/* Where the edges to the next node begin. */
static inline const uint32_t *behind(const uint32_t *edge) {
    while (length_of(*edge++) != 1) continue;
    return edge;
}

/* Forward to the nodes up to depth n. */
static inline void push(path *x, const double *weights, uint32_t n) {
    const uint32_t *edge = x->next;
    while (x->depth < n) {
        const uint32_t k = ++x->depth;
        double sum = 0;
        uint32_t length;
        x->from[k] = edge;
        do {
            length = length_of(*edge);
            sum += x->alpha[k - length] * weights[piece_of(*edge++)];
        } while (length != 1);
        x->alpha[k] = sum;
        x->beta[k] = 0;
    }
    x->next = edge;
}

/* Backward from the nodes below depth n. */
static inline void pop(path *x, const double *weights, double *sums, uint32_t n) {
    for (; x->depth > n; x->depth--) {
        const uint32_t k = x->depth;
        const uint32_t *edge = x->from[k];
        const double own = x->beta[k];
        if (own == 0) continue; /* as where all words behind it are computed alone */
        uint32_t length;
        do {
            const uint32_t piece = piece_of(*edge);
            const double share = weights[piece] * own;
            length = length_of(*edge++);
            x->beta[k - length] += share;
            sums[piece] += x->alpha[k - length] * share;
        } while (length != 1);
    }
}

/* Both passes over one word, n symbols deep, whose edges are on the path; alpha and beta are its own. */
static double expect_alone(const lf_unigram_trainer *t, path *x, double *alpha, double *beta, uint32_t n, double count,
                           double *sums) {
    const uint32_t reach = t->rules.max_length;
    size_t n_divided = 0;
    alpha[0] = 1;
    for (uint32_t k = 1; k <= n; k++) {
        double sum = 0;
        uint32_t length;
        const uint32_t *edge = x->from[k];
        do {
            length = length_of(*edge);
            sum += alpha[k - length] * t->weights[piece_of(*edge++)];
        } while (length != 1);
        alpha[k] = sum;
        beta[k] = 0;
        if (sum >= 1e-100 && sum <= 1e100) continue;
        x->divided[n_divided] = k;
        x->divisors[n_divided++] = sum;
        for (uint32_t i = 0; i < reach && i <= k; i++) alpha[k - i] /= sum;
    }
    double log_sum = log(alpha[n]) - (double)n * t->scale;
    for (size_t i = 0; i < n_divided; i++) log_sum += log(x->divisors[i]);
    beta[0] = 0;
    beta[n] = count / alpha[n];
    for (uint32_t k = n; k > 0; k--) {
        if (n_divided && x->divided[n_divided - 1] == k) {
            const double divisor = x->divisors[--n_divided];
            for (uint32_t i = 0; i < reach && i <= k; i++) alpha[k - i] *= divisor, beta[k - i] /= divisor;
        }
        const uint32_t *edge = x->from[k];
        uint32_t length;
        do {
            const uint32_t piece = piece_of(*edge);
            const double share = t->weights[piece] * beta[k];
            length = length_of(*edge++);
            beta[k - length] += share;
            sums[piece] += alpha[k - length] * share;
        } while (length != 1);
    }
    return count * log_sum;
}

static double *begin_sums(lf_unigram_trainer *t, size_t part) {
    double *sums = (double *)t->sums + ((size_t)t->n_seeded + 1) * part;
    return memset(sums, 0, ((size_t)t->n_pieces + 1) * sizeof *sums);
}

lf_status lf_unigram_fast_expect(lf_unigram_trainer *t, size_t part_) {
    lf_word_part *part = &t->word_parts[part_];
    double *const sums = begin_sums(t, part_);
    double log_likelihood = 0;
    double alpha[SHORT + 1], beta[SHORT + 1];
    path x;
    if (!path_new(&x, t, part)) return path_free(&x), LF_ENOMEM;
    double *const own_alpha = x.alpha, *const own_beta = x.beta;
    x.alpha = alpha, x.beta = beta;
    alpha[0] = 1, beta[0] = 0;
    for (uint32_t i = part->first_word; i < part->end_word; i++) {
        const uint32_t n = t->word_at[i + 1] - 1 - t->word_at[i];
        const double count = (double)t->counts[i];
        pop(&x, t->weights, sums, t->shared[i] < SHORT ? t->shared[i] : SHORT);
        push(&x, t->weights, n < SHORT ? n : SHORT);
        for (uint32_t k = (t->shared[i] > SHORT ? t->shared[i] : SHORT) + 1; k <= n; k++)
            x.from[k] = x.next, x.next = behind(x.next);
        if (n <= SHORT && alpha[n] > 1e-200 && alpha[n] < 1e200) {
            log_likelihood += count * (log(alpha[n]) - (double)n * t->scale);
            beta[n] += count / alpha[n];
        } else {
            log_likelihood += expect_alone(t, &x, own_alpha, own_beta, n, count, sums);
        }
    }
    pop(&x, t->weights, sums, 0);
    part->log_likelihood = log_likelihood;
    x.alpha = own_alpha, x.beta = own_beta;
    path_free(&x);
    return LF_OK;
}

/* The best segmentation, of equals the one whose last piece is longest, and so on to the left. Here alpha is the score
 * up to a node, and beta how many words pass it. */
lf_status lf_unigram_fast_viterbi(lf_unigram_trainer *t, size_t part_) {
    lf_word_part *part = &t->word_parts[part_];
    double *const sums = begin_sums(t, part_);
    double log_likelihood = 0;
    const double *const scores = t->scores;
    path x;
    if (!path_new(&x, t, part)) return path_free(&x), LF_ENOMEM;
    x.alpha[0] = x.beta[0] = 0;
    const uint32_t *edge = x.next;
    for (uint32_t i = part->first_word; i <= part->end_word; i++) {
        const uint32_t shared = i < part->end_word ? t->shared[i] : 0;
        for (; x.depth > shared; x.depth--) {
            const double passed = x.beta[x.depth];
            const uint32_t back = x.back[x.depth];
            if (passed == 0) continue;
            sums[piece_of(back)] += passed;
            x.beta[x.depth - length_of(back)] += passed;
        }
        if (i == part->end_word) break;
        const uint32_t n = t->word_at[i + 1] - 1 - t->word_at[i];
        while (x.depth < n) {
            const uint32_t k = ++x.depth;
            double best = -HUGE_VAL;
            uint32_t length, back = *edge;
            do {
                length = length_of(*edge);
                const double score = x.alpha[k - length] + scores[piece_of(*edge)];
                const int better = score > best;
                best = better ? score : best;
                back = better ? *edge : back;
                edge++;
            } while (length != 1);
            x.alpha[k] = best;
            x.back[k] = back;
            x.beta[k] = 0;
        }
        const double count = (double)t->counts[i];
        log_likelihood += count * x.alpha[n];
        x.beta[n] += count;
    }
    part->log_likelihood = log_likelihood;
    path_free(&x);
    return LF_OK;
}

double lf_unigram_fast_add(lf_unigram_trainer *t) {
    const size_t stride = (size_t)t->n_seeded + 1;
    double log_likelihood = 0;
    for (size_t k = 0; k < t->n_word_parts; k++) log_likelihood += t->word_parts[k].log_likelihood;
    t->sum = 0;
    for (uint32_t i = 0; i < t->n_pieces; i++) {
        double number = 0;
        for (size_t k = 0; k < t->n_word_parts; k++) number += ((const double *)t->sums)[stride * k + i];
        t->numbers[i] = number;
        t->sum += number;
    }
    t->logsum = log(t->sum);
    if (t->n_occurrences > 0) t->scale = -log_likelihood / t->n_occurrences;
    return log_likelihood;
}

/* Characters stay: they are in the vocabulary whatever they are worth. */
void lf_unigram_fast_maximize(lf_unigram_trainer *t) {
    double sum = 0;
    uint32_t n_dropped = 0;
    for (uint32_t i = 0; i < t->n_pieces; i++) {
        t->keeps[i] = t->numbers[i] >= LF_LEAST_EXPECTED || t->piece_length[i] == 1 ? LF_KEEP : LF_DROP;
        n_dropped += t->keeps[i] == LF_DROP;
        if (t->keeps[i] == LF_KEEP) sum += fmax(t->numbers[i], LF_LEAST_EXPECTED);
    }
    const double logsum = lf_digamma(sum);
    for (uint32_t i = 0; i < t->n_pieces; i++) {
        t->scores[i] = t->keeps[i] == LF_DROP ? -HUGE_VAL : lf_digamma(fmax(t->numbers[i], LF_LEAST_EXPECTED)) - logsum;
        if (n_dropped < t->n_pieces / LF_DEAD_SHARE) t->keeps[i] = LF_KEEP;
    }
}

void lf_unigram_fast_weigh(lf_unigram_trainer *t) {
    for (uint32_t i = 0; i <= t->n_pieces; i++)
        t->weights[i] = exp(t->scores[i] + t->scale * (i < t->n_pieces ? t->piece_length[i] : 1));
}

/* The best segmentation into others of a piece that lies on the path behind `start`: its score, and in back[k] the edge
 * that ends after k symbols. */
static double best_without(const lf_unigram_trainer *t, uint32_t piece, const uint32_t *const *from, double *best,
                           uint32_t *back) {
    const uint32_t n = t->piece_length[piece];
    best[0] = 0;
    for (uint32_t k = 1; k <= n; k++) {
        const uint32_t *edge = from[k];
        uint32_t length;
        best[k] = -HUGE_VAL;
        back[k] = *edge;
        do {
            const uint32_t other = piece_of(*edge);
            length = length_of(*edge++);
            if (length > k || other == piece) continue;
            const double score = best[k - length] + t->scores[other];
            if (score > best[k]) best[k] = score, back[k] = edge[-1];
        } while (length != 1);
    }
    return best[n];
}

/* A piece that never occurs, or is spelt better by others, costs nothing. The loss of another is what the log-likelihood
 * loses, for each token, if all its occurrences are spelt by others, which are more frequent then. */
static void set_loss(lf_unigram_trainer *t, uint32_t piece, const uint32_t *const *from, double *best, uint32_t *back) {
    const double count = t->numbers[piece];
    t->losses[piece] = 0;
    t->keeps[piece] = LF_DROP;
    if (count == 0 || best_without(t, piece, from, best, back) > t->scores[piece]) return;
    unsigned n = 0;
    for (unsigned k = t->piece_length[piece]; k; k -= length_of(back[k])) n++;
    const double logsum = log(t->sum + count * (n - 1));
    double others = 0;
    for (unsigned k = t->piece_length[piece]; k; k -= length_of(back[k]))
        others += log(t->numbers[piece_of(back[k])] + count) - logsum;
    t->losses[piece] = count / t->sum * (log(count) - t->logsum - others);
    t->keeps[piece] = LF_KEEP_IF_WORTH;
}

static void set_reach(lf_unigram_trainer *t, uint32_t piece, const uint32_t *const *from, double *best,
                      uint32_t *back) {
    t->keeps[piece] = best_without(t, piece, from, best, back) > t->scores[piece] ? LF_DROP : LF_KEEP;
}

/* Visits the pieces whose piece_at lies in a part of the words, with the edges to their symbols. */
static lf_status visit(lf_unigram_trainer *t, size_t part_,
                       void set(lf_unigram_trainer *, uint32_t, const uint32_t *const *, double *, uint32_t *)) {
    double best[LF_UNIGRAM_LONGEST + 1];
    uint32_t back[LF_UNIGRAM_LONGEST + 1];
    const lf_word_part *part = &t->word_parts[part_];
    size_t n = 0, at = 0;
    path x;
    lf_keyed *items = malloc(((size_t)t->n_pieces + 1) * sizeof *items), *spare = NULL;
    lf_status status = LF_ENOMEM;
    if (!path_new(&x, t, part) || !items) goto done;
    for (uint32_t i = 0; i < t->n_pieces; i++) {
        const uint32_t word = t->piece_word[i];
        if (word < part->first_word || word >= part->end_word) continue;
        if (t->piece_length[i] == 1) t->losses[i] = 0, t->keeps[i] = LF_KEEP;
        else items[n++] = (lf_keyed){word, i};
    }
    spare = malloc((n + 1) * sizeof *spare);
    if (!spare) goto done;
    const lf_keyed *sorted = lf_radix_sort(items, spare, n, t->n_words);
    for (uint32_t i = part->first_word; i < part->end_word && at < n; i++) {
        const uint32_t length = t->word_at[i + 1] - 1 - t->word_at[i];
        for (uint32_t k = t->shared[i] + 1; k <= length; k++) x.from[k] = x.next, x.next = behind(x.next);
        for (; at < n && sorted[at].key == i; at++) {
            const uint32_t piece = (uint32_t)sorted[at].value;
            set(t, piece, x.from + (t->piece_at[piece] - t->word_at[i]), best, back);
        }
    }
    status = LF_OK;
done:
    path_free(&x);
    free(items), free(spare);
    return status;
}

lf_status lf_unigram_fast_loss(lf_unigram_trainer *t, size_t part) { return visit(t, part, set_loss); }
lf_status lf_unigram_fast_shadow(lf_unigram_trainer *t, size_t part) { return visit(t, part, set_reach); }
