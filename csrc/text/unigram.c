/* unigram.c - see unigram.h. */
#include "text/unigram.h"

#include <math.h>
#include <string.h>

#include "text/sp_normalizer.h"

static void clear(lf_unigram_node *nodes, size_t n, double before) {
    for (size_t i = 0; i <= n; i++) nodes[i].length = 0;
    nodes[0].score = before;
}

/* Turns a path that is linked from its end, each node telling the piece before it, into one told from its begin. */
static void turn_around(lf_unigram_node *nodes, size_t n) {
    uint32_t length = nodes[n].length, id = nodes[n].id;
    while (n) {
        lf_unigram_node *start = &nodes[n -= length];
        const uint32_t length_before = start->length, id_before = start->id;
        start->length = length, start->id = id;
        length = length_before, id = id_before;
    }
}

static inline void offer(lf_unigram_node *to, double score, size_t length, uint32_t id) {
    if (to->length && !(score > to->score)) return;
    to->score = score;
    to->length = (uint32_t)length;
    to->id = id;
}

/* One function for both rules, compiled for each: `narrow` rounds every sum to float32. */
static inline double best(const lf_unigram *m, const uint8_t *text, size_t n, double before, lf_unigram_node *nodes,
                          const int narrow) {
    size_t frontier = 0;
    clear(nodes, n, before);
    for (size_t at = 0; at < n;) {
        const size_t width = lf_sp_width(text + at, n - at);
        double here = nodes[at].score;
        if (narrow && LF_UNLIKELY(here < -LF_UNIGRAM_RESET || here > LF_UNIGRAM_RESET)) {
            for (size_t i = at; i <= frontier || i == at; i++)
                if (i == at || nodes[i].length) nodes[i].score = (float)(nodes[i].score - here);
            here = 0;
        }
        int alone = 0;
        uint64_t node = m->pieces.root;
        for (size_t end = at; end < n && lf_unit_step(&m->pieces, &node, text[end]);) {
            end++;
            const uint32_t id = lf_unit_value(node);
            if (id == LF_UNIT_NONE) continue;
            if (end > frontier) frontier = end;
            const double sum = m->scores[id] + here;
            offer(&nodes[end], narrow ? (float)sum : sum, end - at, id);
            alone |= end - at == width;
        }
        if (!alone) {
            const double sum = m->unknown + here;
            if (at + width > frontier) frontier = at + width;
            offer(&nodes[at + width], narrow ? (float)sum : sum, width, LF_PIECE_UNKNOWN);
        }
        at += width;
    }
    const double sum = nodes[n].score;
    turn_around(nodes, n);
    return sum;
}

double lf_unigram_best(const lf_unigram *m, const uint8_t *text, size_t n, double before, lf_unigram_node *nodes) {
    if (m->rule == LF_RULE_TOKENIZERS) return best(m, text, n, before, nodes, 0);
    return best(m, text, n, before, nodes, 1);
}

/* Another way to a node: the sums of its best and its next best path. */
static inline void offer_two(lf_unigram_node *to, const lf_unigram_node *from, double score, size_t length,
                             uint32_t id) {
    const double first = from->score + score, second = from->second + score;
    if (!to->length || first > to->score) {
        to->second = to->length && to->score > second ? to->score : second;
        to->score = first;
        to->length = (uint32_t)length;
        to->id = id;
    } else {
        if (first > to->second) to->second = first;
    }
}

/* See unigram.h: c terms, none larger than `largest`, and a margin between the best path and the next. */
static float limit_of(double margin, size_t c, double largest) {
    const double room = fmin(0.99 * margin - 1e-6, 1e6 * (double)c); /* infinite where there is one path */
    if (!(room > 0)) return -1;
    int exponent;
    frexp(room / (double)c, &exponent); /* room / c is in [2^(exponent - 1), 2^exponent) */
    double limit = 0.999 * ldexp(1, exponent - 1 + 24);
    if (limit > 0.999 * LF_UNIGRAM_RESET) limit = 0.999 * LF_UNIGRAM_RESET;
    return (float)(limit - (double)c * largest);
}

void lf_unigram_word(const lf_unigram *m, const uint8_t *word, size_t n, lf_unigram_node *nodes, float *limit) {
    size_t c = 0;
    double largest = 0;
    clear(nodes, n, 0);
    nodes[0].second = -INFINITY;
    for (size_t at = 0; at < n; c++) {
        const size_t width = lf_sp_width(word + at, n - at);
        int alone = 0;
        uint64_t node = m->pieces.root;
        for (size_t end = at; end < n && lf_unit_step(&m->pieces, &node, word[end]);) {
            end++;
            const uint32_t id = lf_unit_value(node);
            if (id == LF_UNIT_NONE) continue;
            const double score = m->scores[id];
            if (fabs(score) > largest) largest = fabs(score);
            offer_two(&nodes[end], &nodes[at], score, end - at, id);
            alone |= end - at == width;
        }
        if (!alone) {
            if (fabs(m->unknown) > largest) largest = fabs(m->unknown);
            offer_two(&nodes[at + width], &nodes[at], m->unknown, width, LF_PIECE_UNKNOWN);
        }
        at += width;
    }
    *limit = limit_of(nodes[n].score - nodes[n].second, c, largest);
    turn_around(nodes, n);
}
