/* unigram_train_fast.c - the passes over the edges in float64.
 *
 * Forward and backward sums are products of probabilities, each piece's times exp(scale) for each of its symbols. `scale` is
 * the mean cost of a symbol under the last model, so the sums of a word stay near 1 and no logarithm is taken but one a
 * word. In a long word they may still drift; there the sums are divided by themselves where they leave [1e-100, 1e100].
 *
 * Exactness: sums are added in a fixed order, whatever the number of threads. */
#include "text/unigram_train_state.h"

enum { SHORT = 64 }; /* symbols of a word that is not looked after */

typedef struct {
    double *alpha, *beta; /* by slot, with LF_UNIGRAM_LONGEST zeros behind */
    double *divisors;
    uint32_t *divided, *back;
} passes;

static size_t longest_word(const lf_unigram_trainer *t, const lf_word_part *part) {
    size_t n = 0;
    for (uint32_t i = part->first_word; i < part->end_word; i++)
        if (t->word_at[i + 1] - t->word_at[i] > n) n = t->word_at[i + 1] - t->word_at[i];
    return n;
}

static int passes_new(passes *x, size_t longest) {
    const size_t n = longest + LF_UNIGRAM_LONGEST + 1;
    memset(x, 0, sizeof *x);
    x->alpha = malloc(n * sizeof *x->alpha);
    x->beta = malloc(n * sizeof *x->beta);
    x->divisors = malloc(n * sizeof *x->divisors);
    x->divided = malloc(n * sizeof *x->divided);
    x->back = malloc(n * sizeof *x->back);
    return x->alpha && x->beta && x->divisors && x->divided && x->back;
}

static void passes_free(passes *x) {
    free(x->alpha), free(x->beta), free(x->divisors), free(x->divided), free(x->back);
}

/* Both passes over a short word; 0 if its sums leave the safe range. */
static int expect_short(const lf_unigram_trainer *t, const uint32_t *edges, size_t n_edges, size_t n, double count,
                        double *sums, double *log_likelihood) {
    const double *weights = t->weights;
    double alpha[SHORT + 1], beta[SHORT + 1];
    for (size_t i = 1; i <= n; i++) alpha[i] = 0;
    alpha[0] = 1;
    size_t slot = 0;
    for (size_t k = 0; k < n_edges; k++) {
        const uint32_t edge = edges[k];
        alpha[slot + (edge & LF_EDGE_LENGTH)] += alpha[slot] * weights[edge >> LF_EDGE_PIECE];
        slot += edge >> 10 & 1; /* LF_EDGE_LAST */
    }
    if (!(alpha[n] > 1e-200 && alpha[n] < 1e200)) return 0;
    *log_likelihood += count * (log(alpha[n]) - (double)n * t->scale);
    for (size_t i = 0; i < n; i++) beta[i] = 0;
    beta[n] = count / alpha[n];
    for (size_t k = n_edges; k-- > 0;) {
        const uint32_t edge = edges[k], piece = edge >> LF_EDGE_PIECE;
        slot -= edge >> 10 & 1;
        const double behind = weights[piece] * beta[slot + (edge & LF_EDGE_LENGTH)];
        beta[slot] += behind;
        sums[piece] += alpha[slot] * behind;
    }
    return 1;
}

static void expect_long(const lf_unigram_trainer *t, const passes *x, uint32_t first_slot, size_t n, double count,
                        double *sums, double *log_likelihood) {
    const uint32_t *at = t->edge_at + first_slot;
    const unsigned reach = t->rules.max_length;
    size_t n_divided = 0;
    for (size_t i = 1; i <= n + reach; i++) x->alpha[i] = 0;
    x->alpha[0] = 1;
    for (size_t i = 0; i < n; i++) {
        const double own = x->alpha[i];
        if (own < 1e-100 || own > 1e100) {
            x->divided[n_divided] = (uint32_t)i;
            x->divisors[n_divided++] = own;
            for (unsigned k = 0; k <= reach; k++) x->alpha[i + k] /= own;
        }
        for (uint32_t k = at[i]; k < at[i + 1]; k++)
            x->alpha[i + (t->edges[k] & LF_EDGE_LENGTH)] += x->alpha[i] * t->weights[t->edges[k] >> LF_EDGE_PIECE];
    }
    double log_sum = log(x->alpha[n]) - (double)n * t->scale;
    for (size_t i = 0; i < n_divided; i++) log_sum += log(x->divisors[i]);
    *log_likelihood += count * log_sum;
    for (size_t i = 1; i <= reach; i++) x->beta[n + i] = 0;
    x->beta[n] = count / x->alpha[n];
    for (size_t i = n; i-- > 0;) {
        double sum = 0;
        for (uint32_t k = at[i + 1]; k-- > at[i];) {
            const uint32_t piece = t->edges[k] >> LF_EDGE_PIECE;
            const double behind = t->weights[piece] * x->beta[i + (t->edges[k] & LF_EDGE_LENGTH)];
            sum += behind;
            sums[piece] += x->alpha[i] * behind;
        }
        x->beta[i] = sum;
        if (n_divided && x->divided[n_divided - 1] == i) {
            n_divided--;
            for (unsigned k = 0; k <= reach; k++) x->beta[i + k] /= x->divisors[n_divided];
        }
    }
}

lf_status lf_unigram_fast_expect(lf_unigram_trainer *t, size_t part_) {
    lf_word_part *part = &t->word_parts[part_];
    const size_t stride = (size_t)t->n_seeded + 1;
    double *sums = (double *)t->sums + stride * part_;
    passes x;
    part->log_likelihood = 0;
    if (!passes_new(&x, longest_word(t, part))) return passes_free(&x), LF_ENOMEM;
    memset(sums, 0, ((size_t)t->n_pieces + 1) * sizeof *sums);
    for (uint32_t i = part->first_word; i < part->end_word; i++) {
        const uint32_t slot = t->word_at[i], n = t->word_at[i + 1] - 1 - slot, from = t->edge_at[slot];
        const double count = (double)t->counts[i];
        if (n > SHORT ||
            !expect_short(t, t->edges + from, t->edge_at[slot + n] - from, n, count, sums, &part->log_likelihood))
            expect_long(t, &x, slot, n, count, sums, &part->log_likelihood);
    }
    passes_free(&x);
    return LF_OK;
}

/* The best segmentation, of equals the one whose last piece is longest, and so on to the left. */
lf_status lf_unigram_fast_viterbi(lf_unigram_trainer *t, size_t part_) {
    lf_word_part *part = &t->word_parts[part_];
    const size_t stride = (size_t)t->n_seeded + 1;
    double *sums = (double *)t->sums + stride * part_;
    const double *scores = t->scores;
    passes x;
    part->log_likelihood = 0;
    if (!passes_new(&x, longest_word(t, part))) return passes_free(&x), LF_ENOMEM;
    memset(sums, 0, ((size_t)t->n_pieces + 1) * sizeof *sums);
    double *const best = x.alpha;
    uint32_t *const backs = x.back;
    for (uint32_t i = part->first_word; i < part->end_word; i++) {
        const uint32_t first_slot = t->word_at[i], n = t->word_at[i + 1] - 1 - first_slot;
        const uint32_t *edge = t->edges + t->edge_at[first_slot], *end = t->edges + t->edge_at[first_slot + n];
        const double count = (double)t->counts[i];
        for (size_t k = 1; k <= n; k++) best[k] = -HUGE_VAL;
        best[0] = 0;
        for (size_t slot = 0; edge < end; edge++) {
            const size_t to = slot + (*edge & LF_EDGE_LENGTH);
            const double score = best[slot] + scores[*edge >> LF_EDGE_PIECE], before = best[to];
            const uint32_t back = backs[to];
            const int better = score > before;
            best[to] = better ? score : before;
            backs[to] = better ? *edge : back;
            slot += *edge >> 10 & 1; /* LF_EDGE_LAST */
        }
        part->log_likelihood += count * best[n];
        for (size_t k = n; k; k -= backs[k] & LF_EDGE_LENGTH) sums[backs[k] >> LF_EDGE_PIECE] += count;
    }
    passes_free(&x);
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

/* The best segmentation of a piece into others: its score, and in back[k] the edge that ends after k symbols. */
static double best_without(const lf_unigram_trainer *t, uint32_t piece, double *best, uint32_t *back) {
    const unsigned n = t->piece_length[piece];
    const uint32_t *at = t->edge_at + t->piece_at[piece];
    for (unsigned k = 1; k <= n; k++) best[k] = -HUGE_VAL;
    best[0] = 0;
    for (unsigned slot = 0; slot < n; slot++)
        for (uint32_t k = at[slot]; k < at[slot + 1]; k++) {
            const uint32_t edge = t->edges[k], other = edge >> LF_EDGE_PIECE;
            const unsigned to = slot + (edge & LF_EDGE_LENGTH);
            if (to > n || other == piece) continue;
            const double score = best[slot] + t->scores[other];
            if (score > best[to]) best[to] = score, back[to] = edge;
        }
    return best[n];
}

/* A piece that never occurs, or is spelt better by others, costs nothing. The loss of another is what the log-likelihood
 * loses, for each token, if all its occurrences are spelt by others, which are more frequent then. */
lf_status lf_unigram_fast_loss(lf_unigram_trainer *t, uint32_t first, uint32_t end) {
    double best[LF_UNIGRAM_LONGEST + 1];
    uint32_t back[LF_UNIGRAM_LONGEST + 1];
    for (uint32_t i = first; i < end; i++) {
        const double count = t->numbers[i];
        t->losses[i] = 0;
        t->keeps[i] = t->piece_length[i] == 1 ? LF_KEEP : LF_DROP;
        if (t->piece_length[i] == 1 || count == 0 || best_without(t, i, best, back) > t->scores[i]) continue;
        unsigned n = 0;
        for (unsigned k = t->piece_length[i]; k; k -= back[k] & LF_EDGE_LENGTH) n++;
        const double logsum = log(t->sum + count * (n - 1));
        double others = 0;
        for (unsigned k = t->piece_length[i]; k; k -= back[k] & LF_EDGE_LENGTH)
            others += log(t->numbers[back[k] >> LF_EDGE_PIECE] + count) - logsum;
        t->losses[i] = count / t->sum * (log(count) - t->logsum - others);
        t->keeps[i] = LF_KEEP_IF_WORTH;
    }
    return LF_OK;
}

lf_status lf_unigram_fast_shadow(lf_unigram_trainer *t, uint32_t first, uint32_t end) {
    double best[LF_UNIGRAM_LONGEST + 1];
    uint32_t back[LF_UNIGRAM_LONGEST + 1];
    for (uint32_t i = first; i < end; i++)
        t->keeps[i] = t->piece_length[i] > 1 && best_without(t, i, best, back) > t->scores[i] ? LF_DROP : LF_KEEP;
    return LF_OK;
}
