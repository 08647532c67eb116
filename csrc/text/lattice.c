/* lattice.c - see lattice.h. */
#include "text/lattice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/chance.h"
#include "text/pages.h"
#include "text/piece_kinds.h"

enum {
    SEARCH_MOST = 500000,     /* hypotheses, after which only the best path is given */
    AGENDA_MOST = 10000,      /* hypotheses that wait, after which only the best stay ... */
    AGENDA_LEAST = 512,       /* ... so many at most */
    HYPOTHESES_MOST = 100000, /* hypotheses between two such times */
    SHRINKS_MOST = 10,
};
#define NOTHING 0xFFFFFFFFu

/* Building. */

static float score_of(const lf_sp *m, uint32_t id, const uint8_t *p, size_t n) {
    if (m->parts.kinds[id] != LF_USER_DEFINED) return (float)m->parts.scores[id];
    int n_characters = 0;
    for (size_t i = 0; i < n; i += lf_sp_width(p + i, n - i)) n_characters++;
    return (float)(0.1 * (n_characters - 1));
}

static int add_node(lf_lattice *l, size_t *room, lf_lattice_node node) {
    if (l->n_nodes == *room) {
        lf_lattice_node *nodes = realloc(l->nodes, 2 * *room * sizeof *nodes);
        if (!nodes) return 0;
        l->nodes = nodes, *room *= 2;
    }
    l->nodes[l->n_nodes++] = node;
    return 1;
}

static int add_nodes(lf_lattice *l, size_t *room, const lf_sp *m, const uint8_t *text, size_t at) {
    const size_t width = lf_sp_width(text + at, l->n - at);
    int alone = 0;
    uint64_t node = m->unigram.pieces.root;
    for (size_t end = at; end < l->n && lf_unit_step(&m->unigram.pieces, &node, text[end]);) {
        end++;
        const uint32_t id = lf_unit_value(node);
        if (id == LF_UNIT_NONE) continue;
        const float score = score_of(m, id, text + at, end - at);
        if (!add_node(l, room, (lf_lattice_node){(uint32_t)at, (uint32_t)(end - at), id, score})) return 0;
        alone |= end - at == width;
    }
    if (alone) return 1;
    return add_node(l, room,
                    (lf_lattice_node){(uint32_t)at, (uint32_t)width, LF_PIECE_UNKNOWN, (float)m->unigram.unknown});
}

static size_t end_of(const lf_lattice *l, size_t node) { return l->nodes[node].begin + l->nodes[node].length; }

lf_status lf_lattice_new(lf_lattice *l, const lf_sp *m, const uint8_t *text, size_t n) {
    size_t room = 4 * n + 16;
    *l = (lf_lattice){.n = n};
    if (n > 1u << 30) return LF_EVALUE;
    l->nodes = malloc(room * sizeof *l->nodes);
    l->ends = calloc(n + 2, sizeof *l->ends);
    l->sums = malloc((n + 1) * sizeof *l->sums);
    int ok = l->nodes && l->ends && l->sums;
    for (size_t at = 0; ok && at < n; at += lf_sp_width(text + at, n - at)) ok = add_nodes(l, &room, m, text, at);
    l->by_end = ok ? malloc(l->n_nodes * sizeof *l->by_end + 1) : NULL;
    if (!l->by_end) return lf_lattice_free(l), LF_ENOMEM;
    for (size_t i = 0; i < l->n_nodes; i++) l->ends[end_of(l, i) + 1]++;
    for (size_t at = 1; at < n + 2; at++) l->ends[at] += l->ends[at - 1];
    for (size_t i = 0; i < l->n_nodes; i++) l->by_end[l->ends[end_of(l, i)]++] = (uint32_t)i;
    memmove(l->ends + 1, l->ends, (n + 1) * sizeof *l->ends);
    l->ends[0] = 0;
    return LF_OK;
}

void lf_lattice_free(lf_lattice *l) {
    free(l->nodes), free(l->ends), free(l->by_end), free(l->sums);
    *l = (lf_lattice){0};
}

void lf_paths_free(lf_paths *paths) {
    free(paths->nodes), free(paths->offsets), free(paths->scores);
    *paths = (lf_paths){0};
}

/* Begins a path of n nodes; NULL if there is no memory. */
static uint32_t *new_path(lf_paths *p, size_t n, double score) {
    if (!lf_grow(&p->offsets, &p->room_offsets, (p->n_paths + 2) * sizeof *p->offsets) ||
        !lf_grow(&p->scores, &p->room_scores, (p->n_paths + 1) * sizeof *p->scores) ||
        !lf_grow(&p->nodes, &p->room_nodes, (p->n_nodes + n + 1) * sizeof *p->nodes))
        return NULL;
    uint32_t *path = p->nodes + p->n_nodes;
    p->offsets[p->n_paths] = p->n_nodes;
    p->scores[p->n_paths++] = score;
    p->offsets[p->n_paths] = p->n_nodes += n;
    return path;
}

/* The best paths: A* from the end, where the best path from the begin to a node is the exact estimate. */

typedef struct {
    double estimate, sum; /* of the whole path; of the nodes behind this one */
    uint32_t node, next;  /* n_nodes is the begin and n_nodes + 1 the end; the hypothesis behind it */
} hypothesis;

typedef struct {
    hypothesis *all;
    uint32_t *heap;                            /* libstdc++'s: equal estimates come in its order */
    size_t n_all, n_heap, room_all, room_heap; /* room: in bytes */
} search;

static void sift(search *s, size_t hole, size_t top, uint32_t value) {
    for (size_t parent; hole > top; hole = parent) {
        parent = (hole - 1) / 2;
        if (!(s->all[s->heap[parent]].estimate < s->all[value].estimate)) break;
        s->heap[hole] = s->heap[parent];
    }
    s->heap[hole] = value;
}

static int push(search *s, uint32_t value) {
    if (!lf_grow(&s->heap, &s->room_heap, (s->n_heap + 1) * sizeof *s->heap)) return 0;
    sift(s, s->n_heap++, 0, value);
    return 1;
}

static uint32_t pop(search *s) {
    const uint32_t top = s->heap[0], value = s->heap[--s->n_heap];
    const size_t n = s->n_heap;
    size_t hole = 0, child = 0;
    if (n == 0) return top;
    while (child < (n - 1) / 2) {
        child = 2 * (child + 1);
        if (s->all[s->heap[child]].estimate < s->all[s->heap[child - 1]].estimate) child--;
        s->heap[hole] = s->heap[child];
        hole = child;
    }
    if (n % 2 == 0 && child == (n - 2) / 2) {
        child = 2 * (child + 1);
        s->heap[hole] = s->heap[child - 1];
        hole = child - 1;
    }
    sift(s, hole, 0, value);
    return top;
}

/* Adds a hypothesis, not yet to the heap. */
static int keep(search *s, hypothesis h) {
    if (!lf_grow(&s->all, &s->room_all, (s->n_all + 1) * sizeof *s->all)) return 0;
    s->all[s->n_all++] = h;
    return 1;
}

static int add(search *s, hypothesis h) { return keep(s, h) && push(s, (uint32_t)(s->n_all - 1)); }

static void free_search(search *s) { free(s->all), free(s->heap); }

/* Keeps the `n` best that wait, and what lies behind them. */
static lf_status shrink(search *s, size_t n) {
    uint32_t *moved = malloc(s->n_all * sizeof *moved), *kept = malloc(n * sizeof *kept + 1);
    if (!moved || !kept) return free(moved), free(kept), LF_ENOMEM;
    memset(moved, 0xFF, s->n_all * sizeof *moved);
    for (size_t i = 0; i < n; i++) {
        kept[i] = pop(s);
        for (uint32_t h = kept[i]; h != NOTHING && moved[h] == NOTHING; h = s->all[h].next) moved[h] = 0;
    }
    uint32_t n_all = 0; /* a hypothesis lies after the one behind it, so moving them down in order overwrites none */
    for (size_t h = 0; h < s->n_all; h++) {
        if (moved[h] == NOTHING) continue;
        hypothesis copy = s->all[h];
        if (copy.next != NOTHING) copy.next = moved[copy.next];
        moved[h] = n_all;
        s->all[n_all++] = copy;
    }
    s->n_all = n_all, s->n_heap = 0;
    for (size_t i = 0; i < n; i++) push(s, moved[kept[i]]);
    free(moved), free(kept);
    return LF_OK;
}

/* The best sum from the begin to each node, itself included, in float32; for the end node too. */
static void best_sums(const lf_lattice *l, float *sums, uint32_t *before) {
    for (size_t i = 0; i <= l->n_nodes; i++) {
        const int is_end = i == l->n_nodes;
        const size_t at = is_end ? l->n : l->nodes[i].begin;
        const float score = is_end ? 0 : l->nodes[i].score;
        sums[i] = at ? 0 : score;
        before[i] = NOTHING;
        for (uint32_t k = l->ends[at]; k < l->ends[at + 1]; k++) {
            const float sum = sums[l->by_end[k]] + score;
            if (before[i] == NOTHING || sum > sums[i]) sums[i] = sum, before[i] = l->by_end[k];
        }
    }
}

static lf_status give_best(const lf_lattice *l, const float *sums, const uint32_t *before, lf_paths *paths) {
    size_t n = 0;
    for (uint32_t i = before[l->n_nodes]; i != NOTHING; i = before[i]) n++;
    uint32_t *path = new_path(paths, n, sums[l->n_nodes]);
    if (!path) return LF_ENOMEM;
    for (uint32_t i = before[l->n_nodes]; i != NOTHING; i = before[i]) path[--n] = i;
    return LF_OK;
}

/* The path that lies behind a hypothesis at the begin. */
static lf_status give(const lf_lattice *l, const search *s, uint32_t h, lf_paths *paths) {
    size_t n = 0;
    for (uint32_t i = s->all[h].next; s->all[i].node != l->n_nodes + 1; i = s->all[i].next) n++;
    uint32_t *path = new_path(paths, n, s->all[h].estimate);
    if (!path) return LF_ENOMEM;
    for (uint32_t i = s->all[h].next; s->all[i].node != l->n_nodes + 1; i = s->all[i].next) *path++ = s->all[i].node;
    return LF_OK;
}

static size_t begin_of(const lf_lattice *l, uint32_t node) { return node > l->n_nodes ? l->n : l->nodes[node].begin; }

/* Puts before a hypothesis all nodes that end where it begins; returns how many, SIZE_MAX if there is no memory. */
static size_t expand(const lf_lattice *l, search *s, uint32_t h, const float *sums) {
    const hypothesis from = s->all[h];
    const size_t at = begin_of(l, from.node);
    if (at == 0) return add(s, (hypothesis){from.sum, from.sum, (uint32_t)l->n_nodes, h}) ? 1 : SIZE_MAX;
    for (uint32_t k = l->ends[at]; k < l->ends[at + 1]; k++) {
        const uint32_t node = l->by_end[k];
        const float sum = l->nodes[node].score + (float)from.sum, estimate = sums[node] + (float)from.sum;
        if (!add(s, (hypothesis){estimate, sum, node, h})) return SIZE_MAX;
    }
    return l->ends[at + 1] - l->ends[at];
}

static lf_status search_best(const lf_lattice *l, size_t k, const float *sums, const uint32_t *before, search *s,
                             lf_paths *paths) {
    const size_t least = 10 * k < AGENDA_LEAST ? 10 * k : AGENDA_LEAST;
    size_t total = 1, most = HYPOTHESES_MOST;
    int n_shrinks = 0;
    if (!add(s, (hypothesis){sums[l->n_nodes], 0, (uint32_t)l->n_nodes + 1, NOTHING})) return LF_ENOMEM;
    while (s->n_heap) {
        const uint32_t top = pop(s);
        if (s->all[top].node == l->n_nodes) {
            if (give(l, s, top, paths) != LF_OK) return LF_ENOMEM;
            if (paths->n_paths == k) break;
            continue;
        }
        const size_t n = expand(l, s, top, sums);
        if (n == SIZE_MAX) return LF_ENOMEM;
        total += n;
        const int too_many = s->n_heap >= AGENDA_MOST || (s->n_heap > least && s->n_all >= most);
        if (total >= SEARCH_MOST || s->n_all >= SEARCH_MOST || (too_many && n_shrinks == SHRINKS_MOST)) {
            paths->n_paths = paths->n_nodes = 0;
            return give_best(l, sums, before, paths);
        }
        if (!too_many) continue;
        n_shrinks++;
        if (shrink(s, s->n_heap < least ? s->n_heap : least) != LF_OK) return LF_ENOMEM;
        most = s->n_all + HYPOTHESES_MOST;
    }
    return LF_OK;
}

lf_status lf_lattice_best(const lf_lattice *l, size_t k, lf_paths *paths) {
    if (l->n == 0 || k == 0) return LF_OK;
    float *sums = malloc((l->n_nodes + 1) * sizeof *sums);
    uint32_t *before = malloc((l->n_nodes + 1) * sizeof *before);
    search s = {0};
    lf_status status = LF_ENOMEM;
    if (sums && before) {
        best_sums(l, sums, before);
        status = k == 1 ? give_best(l, sums, before, paths) : search_best(l, k, sums, before, &s, paths);
    }
    free(sums), free(before), free_search(&s);
    return status;
}

/* Probabilities. */

static double log_add(double a, double b) {
    const double high = a > b ? a : b, low = a > b ? b : a;
    return low == -INFINITY ? high : high + log1p(exp(low - high));
}

double lf_lattice_sum(lf_lattice *l, double alpha) {
    l->sums[0] = 0;
    for (size_t at = 1; at <= l->n; at++) {
        double sum = -INFINITY;
        for (uint32_t k = l->ends[at]; k < l->ends[at + 1]; k++) {
            const lf_lattice_node *node = &l->nodes[l->by_end[k]];
            sum = log_add(sum, l->sums[node->begin] + alpha * node->score);
        }
        l->sums[at] = sum;
    }
    return l->sums[l->n];
}

/* The log of the probability that a path to `at` has this node before it. */
static double log_share(const lf_lattice *l, double alpha, uint32_t node, size_t at) {
    return l->sums[l->nodes[node].begin] + alpha * l->nodes[node].score - l->sums[at];
}

lf_status lf_lattice_sample(const lf_lattice *l, double alpha, uint64_t *state, lf_paths *paths) {
    uint32_t *drawn = malloc(l->n * sizeof *drawn + 1);
    if (!drawn) return LF_ENOMEM;
    size_t n = 0;
    double log_probability = 0;
    for (size_t at = l->n; at; at = l->nodes[drawn[n - 1]].begin) {
        double left = lf_chance_uniform(state);
        uint32_t k = l->ends[at];
        for (; k + 1 < l->ends[at + 1] && (left -= exp(log_share(l, alpha, l->by_end[k], at))) >= 0;) k++;
        log_probability += log_share(l, alpha, l->by_end[k], at);
        drawn[n++] = l->by_end[k];
    }
    uint32_t *path = new_path(paths, n, log_probability);
    for (size_t i = 0; path && i < n; i++) path[i] = drawn[n - 1 - i];
    free(drawn);
    return path ? LF_OK : LF_ENOMEM;
}

static double gumbel(uint64_t *state) { return -log(-log(((double)(lf_chance_next(state) >> 12) + 0.5) * 0x1p-52)); }

/* Gives each way on its perturbed log-probability, of which the largest is to be the hypothesis's own. */
static int expand_perturbed(const lf_lattice *l, double alpha, search *s, uint32_t h, uint64_t *state) {
    const hypothesis from = s->all[h];
    const size_t at = begin_of(l, from.node), first = s->n_all;
    if (at == 0) return add(s, (hypothesis){from.estimate, from.sum, (uint32_t)l->n_nodes, h});
    double largest = -INFINITY;
    for (uint32_t k = l->ends[at]; k < l->ends[at + 1]; k++) {
        const double sum = from.sum + log_share(l, alpha, l->by_end[k], at), perturbed = sum + gumbel(state);
        if (perturbed > largest) largest = perturbed;
        if (!keep(s, (hypothesis){perturbed, sum, l->by_end[k], h})) return 0;
    }
    for (size_t i = first; i < s->n_all; i++) {
        hypothesis *way = &s->all[i];
        const double v = from.estimate - way->estimate + log1p(-exp(way->estimate - largest));
        way->estimate = from.estimate - fmax(0, v) - log1p(exp(-fabs(v)));
        if (!push(s, (uint32_t)i)) return 0;
    }
    return 1;
}

lf_status lf_lattice_sample_different(const lf_lattice *l, double alpha, size_t k, uint64_t *state, lf_paths *paths) {
    search s = {0};
    int ok = add(&s, (hypothesis){gumbel(state), 0, (uint32_t)l->n_nodes + 1, NOTHING});
    while (ok && s.n_heap && paths->n_paths < k && s.n_all < UINT32_MAX / 2) {
        const uint32_t top = pop(&s);
        if (s.all[top].node == l->n_nodes) ok = give(l, &s, top, paths) == LF_OK;
        else ok = expand_perturbed(l, alpha, &s, top, state);
    }
    free_search(&s);
    return ok ? LF_OK : LF_ENOMEM;
}

double lf_lattice_log_probability(const lf_lattice *l, double alpha, const lf_paths *paths, size_t i) {
    double sum = -l->sums[l->n];
    for (size_t k = paths->offsets[i]; k < paths->offsets[i + 1]; k++) sum += alpha * l->nodes[paths->nodes[k]].score;
    return sum;
}

/* H(at) = - sum over the nodes that end at `at` of p (log p - H(begin)), where p is the node's share. */
lf_status lf_lattice_entropy(const lf_lattice *l, double alpha, double *entropy) {
    double *h = calloc(l->n + 1, sizeof *h);
    if (!h) return LF_ENOMEM;
    for (size_t at = 1; at <= l->n; at++)
        for (uint32_t k = l->ends[at]; k < l->ends[at + 1]; k++) {
            const double log_p = log_share(l, alpha, l->by_end[k], at);
            h[at] += exp(log_p) * (h[l->nodes[l->by_end[k]].begin] - log_p);
        }
    *entropy = h[l->n];
    free(h);
    return LF_OK;
}

lf_status lf_lattice_marginals(const lf_lattice *l, double alpha, double *log_probabilities) {
    double *after = malloc((l->n + 1) * sizeof *after); /* as sums, from a place to the end */
    if (!after) return LF_ENOMEM;
    for (size_t at = 0; at < l->n; at++) after[at] = -INFINITY;
    after[l->n] = 0;
    for (size_t i = l->n_nodes; i-- > 0;) { /* by falling begin, so what comes after a node is known */
        const lf_lattice_node *node = &l->nodes[i];
        after[node->begin] = log_add(after[node->begin], alpha * node->score + after[end_of(l, i)]);
    }
    for (size_t i = 0; i < l->n_nodes; i++)
        log_probabilities[i] =
            l->sums[l->nodes[i].begin] + alpha * l->nodes[i].score + after[end_of(l, i)] - l->sums[l->n];
    free(after);
    return LF_OK;
}

size_t lf_lattice_ids(const lf_lattice *l, const lf_sp *m, const uint8_t *text, const lf_paths *paths, size_t i,
                      uint32_t *ids) {
    size_t n = 0;
    int after_unknown = 0;
    for (size_t k = paths->offsets[i]; k < paths->offsets[i + 1]; k++) {
        const lf_lattice_node *node = &l->nodes[paths->nodes[k]];
        const int unknown = node->id == LF_PIECE_UNKNOWN;
        if (!unknown) ids[n++] = node->id;
        else if (m->has_bytes)
            for (size_t b = 0; b < node->length; b++) ids[n++] = m->bytes[text[node->begin + b]];
        else if (m->parts.unknown_id == LF_SP_NO_ID) return SIZE_MAX;
        else if (!after_unknown) ids[n++] = m->parts.unknown_id;
        after_unknown = unknown;
    }
    return n;
}
