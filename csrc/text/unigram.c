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

/* Pieces that were found in a word, in the order of their begins. */
enum { FOUND_MOST = 256 };
typedef struct {
    uint32_t begin, end, id;
} found_piece;

/* Other ways to nodes: the sums of their best and their next best paths. Without a branch that nobody could predict: what
 * is next best after a new best sum is the old one, or the next best way by the same piece. */
static void offer_all(const lf_unigram *m, const found_piece *found, size_t n, lf_unigram_node *nodes,
                      double *largest) {
    double most = *largest;
    for (size_t i = 0; i < n; i++) {
        const uint32_t id = found[i].id;
        const double score = id == LF_PIECE_UNKNOWN ? m->unknown : m->scores[id];
        const lf_unigram_node *from = &nodes[found[i].begin];
        lf_unigram_node *to = &nodes[found[i].end];
        const double first = from->score + score, second = from->second + score, before = to->score;
        const double lesser = first < before ? first : before, next = to->second > second ? to->second : second;
        const uint64_t last = (uint64_t)id << 32 | (found[i].end - found[i].begin);
        uint64_t kept;
        memcpy(&kept, &to->length, sizeof kept);
        kept = first > before ? last : kept;
        memcpy(&to->length, &kept, sizeof kept);
        to->score = first > before ? first : before;
        to->second = lesser > next ? lesser : next;
        most = fabs(score) > most ? fabs(score) : most;
    }
    *largest = most;
}

/* See unigram.h: c terms, none larger than `largest`, and a margin between the best path and the next. */
static float limit_of(double margin, size_t c, double largest) {
    const double room = fmin(0.99 * margin - 1e-6, 1e6 * (double)c); /* infinite where there is one path */
    if (!(room > 0)) return -1;
    const double each = room / (double)c;
    uint64_t power;
    memcpy(&power, &each, sizeof power);
    power = (power & 0xFFF0000000000000u) + ((uint64_t)24 << 52); /* the power of two below it, times 2^24 */
    double limit;
    memcpy(&limit, &power, sizeof limit);
    limit *= 0.999;
    if (limit > 0.999 * LF_UNIGRAM_RESET) limit = 0.999 * LF_UNIGRAM_RESET;
    return (float)(limit - (double)c * largest);
}

void lf_unigram_word(const lf_unigram *m, const uint8_t *word, size_t n, lf_unigram_node *nodes, float *limit) {
    found_piece found[FOUND_MOST];
    size_t c = 0, n_found = 0;
    double largest = 0;
    for (size_t i = 1; i <= n; i++) nodes[i] = (lf_unigram_node){-INFINITY, -INFINITY, 0, 0};
    nodes[0] = (lf_unigram_node){-INFINITY, 0, 0, 0};
    for (size_t at = 0; at < n; c++) {
        const size_t width = lf_sp_width(word + at, n - at);
        uint32_t is_known = 0;
        uint64_t node = m->pieces.root;
        for (size_t end = at; end < n && lf_unit_step(&m->pieces, &node, word[end]);) {
            const uint32_t id = lf_unit_value(node), is_piece = id != LF_UNIT_NONE;
            end++;
            found[n_found] = (found_piece){(uint32_t)at, (uint32_t)end, id};
            n_found += is_piece;
            is_known |= is_piece & (end - at == width);
            if (LF_UNLIKELY(n_found >= FOUND_MOST - 2)) {
                offer_all(m, found, n_found, nodes, &largest);
                n_found = 0;
            }
        }
        found[n_found] = (found_piece){(uint32_t)at, (uint32_t)(at + width), LF_PIECE_UNKNOWN};
        n_found += !is_known;
        at += width;
    }
    offer_all(m, found, n_found, nodes, &largest);
    *limit = limit_of(nodes[n].score - nodes[n].second, c, largest);
    turn_around(nodes, n);
}
