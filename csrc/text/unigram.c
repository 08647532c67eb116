/* unigram.c - see unigram.h. */
#include "text/unigram.h"

#include <math.h>
#include <stdlib.h>
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

lf_status lf_unigram_prepare(lf_unigram *m, uint32_t n_ids) {
    m->narrow = malloc(((size_t)n_ids + 1) * sizeof *m->narrow);
    if (!m->narrow) return LF_ENOMEM;
    for (uint32_t id = 0; id < n_ids; id++) m->narrow[id] = (float)m->scores[id];
    m->narrow[n_ids] = -INFINITY;
    m->n_ids = n_ids;
    return LF_OK;
}

void lf_unigram_drop(lf_unigram *m) { free(m->narrow); }

/* The best way from a place to the end of a word, and the next best that leaves it there. */
typedef struct {
    double best, second;
    uint64_t piece; /* the first of the best: its id << 32 | its bytes */
} way;

/* Another way, by a piece. Which of two is better nobody could predict, so there is no branch on it. */
static inline void offer_way(way *to, double sum, uint64_t piece) {
    const double low = sum < to->best ? sum : to->best;
    to->piece ^= (to->piece ^ piece) & (0 - (uint64_t)(sum > to->best));
    to->best = sum > to->best ? sum : to->best;
    to->second = low > to->second ? low : to->second;
}

double lf_unigram_word(const lf_unigram *m, const uint8_t *word, size_t n, lf_unigram_node *nodes, float *limit) {
    const uint64_t *units = m->pieces.units;
    const float *scores = m->narrow;
    size_t n_terms = 0;
    nodes[n].score = 0;
    for (size_t at = n, after = n; at--;) {
        if (at && (word[at] & 0xC0) == 0x80) { /* no character begins here */
            nodes[at].score = -INFINITY;
            continue;
        }
        const size_t width = after - at;
        way here = {nodes[after].score + m->unknown, -INFINITY, (uint64_t)LF_PIECE_UNKNOWN << 32 | width};
        uint64_t unit = m->pieces.root;
        size_t end = at;
        do unit = units[unit >> 36 ^ word[end]];
        while ((uint8_t)(unit >> 28) == word[end] && ++end < after);
        if (LF_LIKELY(end == after)) {
            uint32_t id = lf_unit_value(unit);
            if (LF_LIKELY(id != LF_UNIT_NONE))
                here = (way){nodes[end].score + (double)scores[id], -INFINITY, (uint64_t)id << 32 | width};
            while (end < n) {
                const uint8_t byte = word[end++];
                unit = units[unit >> 36 ^ byte];
                if ((uint8_t)(unit >> 28) != byte) break;
                id = lf_unit_value(unit);
                id = id < m->n_ids ? id : m->n_ids;
                offer_way(&here, nodes[end].score + (double)scores[id], (uint64_t)id << 32 | (end - at));
            }
        }
        nodes[at] = (lf_unigram_node){here.best, here.second, (uint32_t)here.piece, (uint32_t)(here.piece >> 32)};
        n_terms++, after = at;
    }
    /* A path that is not the best leaves it somewhere, for the next best way from there at most. */
    double margin = INFINITY;
    for (size_t at = 0; at < n; at += nodes[at].length) {
        const double by = nodes[at].score - nodes[at].second;
        margin = by < margin ? by : margin;
    }
    *limit = limit_of(margin, n_terms, m->largest);
    return margin;
}
