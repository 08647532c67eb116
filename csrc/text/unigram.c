/* unigram.c - see unigram.h. */
#include "text/unigram.h"

#include <math.h>
#include <string.h>

#include "text/sp_normalizer.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

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

/* The sums of the best path to a node and of the next best. Which of two paths is better nobody could predict, so what
 * follows has no branch that depends on it. */
typedef double two_sums __attribute__((vector_size(16)));

static inline two_sums larger(two_sums a, two_sums b) {
#if defined(__SSE2__)
    return (two_sums)_mm_max_pd((__m128d)a, (__m128d)b);
#else
    return (two_sums){a[0] > b[0] ? a[0] : b[0], a[1] > b[1] ? a[1] : b[1]};
#endif
}

static inline two_sums smaller(two_sums a, two_sums b) {
#if defined(__SSE2__)
    return (two_sums)_mm_min_pd((__m128d)a, (__m128d)b);
#else
    return (two_sums){a[0] < b[0] ? a[0] : b[0], a[1] < b[1] ? a[1] : b[1]};
#endif
}

/* Another way to a node, by a piece; there is none where the score is -INFINITY. */
static inline void offer_two(lf_unigram_node *to, two_sums from, double score, uint64_t length, uint32_t id) {
    const uint32_t length_and_id[2] = {(uint32_t)length, id};
    two_sums had;
    uint64_t had_piece, piece;
    memcpy(&had, to, sizeof had), memcpy(&had_piece, &to->length, sizeof had_piece);
    memcpy(&piece, length_and_id, sizeof piece);
    const two_sums sums = from + score, high = larger(sums, had), low = smaller(sums, had);
    had_piece ^= (had_piece ^ piece) & (0 - (uint64_t)(sums[0] > had[0]));
    const two_sums now = larger(high, (two_sums){high[0], low[0]});
    memcpy(to, &now, sizeof now), memcpy(&to->length, &had_piece, sizeof had_piece);
}

/* See unigram.h: c terms, none larger than `largest`, and a margin between the best path and the next. */
static float limit_of(double margin, size_t c, double largest) {
    const double most = 1e6 * (double)c, wanted = 0.99 * margin - 1e-6; /* infinite where there is one path */
    const double room = wanted < most ? wanted : most;
    if (!(room > 0)) return -1;
    double power = room / (double)c; /* down to a power of two */
    uint64_t bits;
    memcpy(&bits, &power, sizeof bits), bits &= (uint64_t)0x7FF << 52, memcpy(&power, &bits, sizeof bits);
    double limit = 0.999 * (1 << 24) * power;
    if (limit > 0.999 * LF_UNIGRAM_RESET) limit = 0.999 * LF_UNIGRAM_RESET;
    return (float)(limit - (double)c * largest);
}

void lf_unigram_word(const lf_unigram *m, const uint8_t *word, size_t n, lf_unigram_node *nodes, float *limit) {
    const double *scores = m->scores;
    const uint64_t *units = m->pieces.units;
    const uint32_t none = m->n_ids;
    size_t n_terms = 0;
    double most = fabs(m->unknown); /* no score is further from 0, unless it is one of a user-defined piece */
    for (size_t i = 0; i <= n; i++) nodes[i] = (lf_unigram_node){-INFINITY, -INFINITY, 0, 0};
    nodes[0].score = 0;
    for (size_t at = 0; at < n; n_terms++) {
        const size_t width = lf_sp_width(word + at, n - at);
        two_sums sums;
        uint32_t alone = none;
        uint64_t node = m->pieces.root, length = 0;
        lf_unigram_node *to = nodes + at;
        memcpy(&sums, to, sizeof sums);
        for (size_t end = at; end < n;) {
            node = units[(node >> 36) ^ word[end]];
            if ((uint8_t)(node >> 28) != word[end++]) break;
            const uint32_t value = lf_unit_value(node), id = value ^ ((value ^ none) & (0u - (value == LF_UNIT_NONE)));
            const double score = scores[id];
            most = score > most ? score : most;
            if (++length == width) alone = id;
            offer_two(++to, sums, score, length, id);
        }
        offer_two(nodes + at + width, sums, alone == none ? m->unknown : -INFINITY, width, LF_PIECE_UNKNOWN);
        at += width;
    }
    *limit = limit_of(nodes[n].score - nodes[n].second, n_terms, most);
    turn_around(nodes, n);
}
