/* unigram_train_exact.c - the passes over the edges as sentencepiece 0.2.3 computes them: float32 logarithms, its order of
 * additions, its ties, and `n_sums` sums, word i belonging to sum i mod n_sums.
 *
 * A forward sum is the same for all pieces that begin in a slot, a backward sum for all that end there, so each is computed
 * once instead of once a piece. Where sentencepiece gives an unknown character the number 0, which is the number of
 * the most frequent piece, that piece is expected, counted and charged with the unknown ones here too.
 *
 * Exactness: every float operation of unigram_model.cc and unigram_model_trainer.cc, in that order, with the functions of
 * the same C library; held to sentencepiece by tests/text/test_train_unigram.py. */
#include "text/unigram_train_state.h"

/* log(exp(x) + exp(y)) */
static float log_sum(float x, float y) {
    const float least = x < y ? x : y, most = x < y ? y : x;
    if (most > least + 50) return most;
    return (float)(most + log1p(exp((double)(least - most))));
}

/* A word or piece with all pieces in it. Nodes are in the order of where they begin, short to long. */
typedef struct {
    uint32_t piece;
    uint32_t begin, end;
    float score;
    float best;    /* of a path from the beginning through this node */
    uint32_t left; /* the node before on that path */
    uint32_t next; /* the next node with the same end */
} node;

typedef struct {
    node *nodes;
    size_t n_nodes, room, n;
    uint32_t *first, *last; /* by slot: the nodes that end there */
    float *alpha, *beta;
    size_t slots;
} lattice;

#define NONE 0xFFFFFFFFu

static int lattice_room(lattice *l, size_t n, size_t n_nodes) {
    if (n + 1 > l->slots) {
        free(l->first), free(l->last), free(l->alpha), free(l->beta);
        l->slots = 2 * (n + 1);
        l->first = malloc(l->slots * sizeof *l->first);
        l->last = malloc(l->slots * sizeof *l->last);
        l->alpha = malloc(l->slots * sizeof *l->alpha);
        l->beta = malloc(l->slots * sizeof *l->beta);
    }
    if (n_nodes > l->room) {
        free(l->nodes);
        l->room = 2 * n_nodes;
        l->nodes = malloc(l->room * sizeof *l->nodes);
    }
    return l->first && l->last && l->alpha && l->beta && l->nodes;
}

static void lattice_free(lattice *l) { free(l->nodes), free(l->first), free(l->last), free(l->alpha), free(l->beta); }

/* The lattice of n symbols from a slot on. */
static int lattice_fill(const lf_unigram_trainer *t, lattice *l, uint32_t slot, size_t n) {
    if (!lattice_room(l, n, t->edge_at[slot + n] - t->edge_at[slot])) return 0;
    l->n = n;
    l->n_nodes = 0;
    for (size_t i = 0; i <= n; i++) l->first[i] = l->last[i] = NONE;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = t->edge_at[slot + i]; k < t->edge_at[slot + i + 1]; k++) {
            const uint32_t piece = t->edges[k] >> LF_EDGE_PIECE, end = i + (t->edges[k] & LF_EDGE_LENGTH);
            if (end > n) continue;
            const uint32_t at = (uint32_t)l->n_nodes++;
            l->nodes[at] = (node){piece, i, end, (float)t->scores[piece], 0, NONE, NONE};
            if (l->first[end] == NONE) l->first[end] = at;
            else l->nodes[l->last[end]].next = at;
            l->last[end] = at;
        }
    return 1;
}

/* The best left neighbour of a node that begins where these nodes end: the first with the largest sum, as rounded. */
static uint32_t best_left(const lattice *l, uint32_t first, float score, float *sum) {
    uint32_t best = first;
    *sum = l->nodes[first].best + score;
    for (uint32_t k = l->nodes[first].next; k != NONE; k = l->nodes[k].next) {
        const float other = l->nodes[k].best + score;
        if (other > *sum) *sum = other, best = k;
    }
    return best;
}

/* Sets `best` and `left` of all nodes; returns the last node of the best path and its score. sentencepiece compares rounded
 * sums for each node, so an earlier neighbour that is a little worse may win by a tie. Where none is so close, all nodes
 * have the same best neighbour. */
static uint32_t viterbi(lattice *l, float *score) {
    size_t k = 0;
    for (uint32_t i = 0; i <= l->n; i++) {
        uint32_t best = NONE;
        int close = 0;
        if (i) {
            best = l->first[i];
            float most = l->nodes[best].best;
            for (uint32_t m = l->nodes[best].next; m != NONE; m = l->nodes[m].next)
                if (l->nodes[m].best > most) {
                    const float margin = (fabsf(most) + fabsf(l->nodes[m].best) + 1000) * 0x1p-22f;
                    close = l->nodes[m].best - most <= margin; /* the one before might win; those before it are worse */
                    most = l->nodes[m].best;
                    best = m;
                }
            if (i == l->n) {
                if (close) return best_left(l, l->first[i], 0, score);
                *score = most + 0.0f;
                return best;
            }
        }
        for (; k < l->n_nodes && l->nodes[k].begin == i; k++) {
            node *node = &l->nodes[k];
            if (!i) {
                node->best = 0.0f + node->score;
            } else if (close) {
                node->left = best_left(l, l->first[i], node->score, &node->best);
            } else {
                node->left = best;
                node->best = l->nodes[best].best + node->score;
            }
        }
    }
    *score = 0;
    return NONE; /* no symbols */
}

/* Expectations. */

static void expect_word(const lf_unigram_trainer *t, lattice *l, uint32_t slot, size_t n, float count, float *sums,
                        double *log_likelihood) {
    const uint32_t *at = t->edge_at + slot;
    for (size_t i = 0; i <= n; i++) l->first[i] = 0; /* whether the sum has begun */
    l->alpha[0] = 0;
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = at[i]; k < at[i + 1]; k++) {
            const size_t end = i + (t->edges[k] & LF_EDGE_LENGTH);
            const float term = (float)t->scores[t->edges[k] >> LF_EDGE_PIECE] + l->alpha[i];
            l->alpha[end] = l->first[end] ? log_sum(l->alpha[end], term) : term;
            l->first[end] = 1;
        }
    l->beta[n] = 0;
    for (size_t i = n; i-- > 0;)
        for (uint32_t k = at[i]; k < at[i + 1]; k++) {
            const float term =
                (float)t->scores[t->edges[k] >> LF_EDGE_PIECE] + l->beta[i + (t->edges[k] & LF_EDGE_LENGTH)];
            l->beta[i] = k > at[i] ? log_sum(l->beta[i], term) : term;
        }
    const float z = l->alpha[n];
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = at[i]; k < at[i + 1]; k++) {
            const uint32_t piece = t->edges[k] >> LF_EDGE_PIECE;
            const float log_share =
                l->alpha[i] + (float)t->scores[piece] + l->beta[i + (t->edges[k] & LF_EDGE_LENGTH)] - z;
            float *sum = &sums[piece == t->n_pieces ? 0 : piece];
            *sum = (float)((double)*sum + (double)count * exp((double)log_share));
        }
    *log_likelihood += (double)count * (double)z;
}

static float *own_sums(const lf_unigram_trainer *t, size_t part) {
    return (float *)t->sums + ((size_t)t->n_seeded + 1) * part;
}

lf_status lf_unigram_exact_expect(lf_unigram_trainer *t, size_t part) {
    float *sums = own_sums(t, part);
    lattice l = {0};
    double log_likelihood = 0;
    lf_status status = LF_OK;
    memset(sums, 0, ((size_t)t->n_pieces + 1) * sizeof *sums);
    for (size_t i = part; i < t->n_words && status == LF_OK; i += t->rules.n_sums) {
        const uint32_t slot = t->word_at[i], n = t->word_at[i + 1] - 1 - slot;
        if (!lattice_room(&l, n, 1)) status = LF_ENOMEM;
        else expect_word(t, &l, slot, n, (float)t->counts[i], sums, &log_likelihood);
    }
    t->likelihoods[part] = log_likelihood;
    lattice_free(&l);
    return status;
}

lf_status lf_unigram_exact_viterbi(lf_unigram_trainer *t, size_t part) {
    float *sums = own_sums(t, part);
    lattice l = {0};
    double log_likelihood = 0;
    lf_status status = LF_OK;
    memset(sums, 0, ((size_t)t->n_pieces + 1) * sizeof *sums);
    for (size_t i = part; i < t->n_words; i += t->rules.n_sums) {
        const uint32_t slot = t->word_at[i], n = t->word_at[i + 1] - 1 - slot;
        if (!lattice_fill(t, &l, slot, n)) {
            status = LF_ENOMEM;
            break;
        }
        float score;
        for (uint32_t k = viterbi(&l, &score); k != NONE; k = l.nodes[k].left)
            sums[l.nodes[k].piece == t->n_pieces ? 0 : l.nodes[k].piece] += (float)t->counts[i];
        log_likelihood += (double)t->counts[i] * (double)score;
    }
    t->likelihoods[part] = log_likelihood;
    lattice_free(&l);
    return status;
}

double lf_unigram_exact_add(lf_unigram_trainer *t) {
    double log_likelihood = 0, sum = 0;
    for (size_t k = 0; k < t->rules.n_sums; k++) log_likelihood += t->likelihoods[k];
    for (uint32_t i = 0; i < t->n_pieces; i++) {
        float number = 0;
        for (size_t k = 0; k < t->rules.n_sums; k++) number += own_sums(t, k)[i];
        t->numbers[i] = number;
        sum += number;
    }
    t->sum = (float)sum;
    t->logsum = (float)log(t->sum);
    return log_likelihood;
}

void lf_unigram_exact_maximize(lf_unigram_trainer *t) {
    float sum = 0;
    for (uint32_t i = 0; i < t->n_pieces; i++) {
        t->keeps[i] = t->numbers[i] < LF_LEAST_EXPECTED ? LF_DROP : LF_KEEP;
        if (t->keeps[i] == LF_KEEP) sum += (float)t->numbers[i];
    }
    const float logsum = (float)lf_digamma(sum);
    for (uint32_t i = 0; i < t->n_pieces; i++)
        if (t->keeps[i] == LF_KEEP) t->scores[i] = (float)(lf_digamma(t->numbers[i]) - logsum);
}

/* The second best path, by the search that sentencepiece does: from the end backwards, the most promising first. */

#define BEGINNING 0xFFFFFFFEu

typedef struct {
    float promise; /* the score of the best whole path that ends with this one */
    float score;
    uint32_t node, next; /* its first node, BEGINNING or NONE for the end; the path behind that node */
} path;

typedef struct {
    path *paths;
    uint32_t *queue;
    size_t n_paths, n_queued, room;
    size_t n_since, n_forgotten; /* paths since some were forgotten, as sentencepiece counts them; how often */
} search;

/* A heap as GNU's standard library of C++ keeps it: which of equals comes first depends on that. */
static void push(search *s, size_t hole, uint32_t item) {
    for (; hole && s->paths[s->queue[(hole - 1) / 2]].promise < s->paths[item].promise; hole = (hole - 1) / 2)
        s->queue[hole] = s->queue[(hole - 1) / 2];
    s->queue[hole] = item;
}

static uint32_t pop(search *s) {
    const uint32_t top = s->queue[0], item = s->queue[--s->n_queued];
    const size_t n = s->n_queued;
    size_t hole = 0;
    while (2 * hole + 2 < n) {
        size_t child = 2 * hole + 2;
        if (s->paths[s->queue[child]].promise < s->paths[s->queue[child - 1]].promise) child--;
        s->queue[hole] = s->queue[child];
        hole = child;
    }
    if (2 * hole + 2 == n) {
        s->queue[hole] = s->queue[n - 1];
        hole = n - 1;
    }
    push(s, hole, item);
    return top;
}

static int search_room(search *s, size_t more) {
    if (s->n_paths + more <= s->room) return 1;
    s->room = 2 * (s->n_paths + more);
    path *paths = realloc(s->paths, s->room * sizeof *paths);
    if (paths) s->paths = paths;
    uint32_t *queue = realloc(s->queue, s->room * sizeof *queue);
    if (queue) s->queue = queue;
    return paths && queue;
}

static void add_path(search *s, float promise, float score, uint32_t node, uint32_t next) {
    s->paths[s->n_paths] = (path){promise, score, node, next};
    s->n_since++;
    push(s, s->n_queued++, (uint32_t)s->n_paths++);
}

enum { FEW_PATHS = 20, QUEUE_MOST = 10000, SINCE_MOST = 100000, PATHS_MOST = 500000, FORGETS_MOST = 10 };

/* Keeps the best few paths, and of what they consist. */
static size_t forget(search *s) {
    uint32_t best[FEW_PATHS], seen[FEW_PATHS * (LF_UNIGRAM_LONGEST + 2)];
    size_t n = 0, n_seen = 0;
    while (n < FEW_PATHS && s->n_queued) best[n++] = pop(s);
    s->n_queued = 0;
    for (size_t i = 0; i < n; i++) {
        push(s, s->n_queued++, best[i]);
        for (uint32_t k = best[i]; k != NONE; k = s->paths[k].next) {
            size_t m = 0;
            while (m < n_seen && seen[m] != k) m++;
            if (m < n_seen) break;
            seen[n_seen++] = k;
        }
    }
    s->n_forgotten++;
    return n_seen;
}

/* The two best paths through a lattice, found[i] being the whole path from the beginning; how many there are, -1 for no memory.
 * Where so many are nearly equal that sentencepiece gives up, it has one. */
static int two_best(lattice *l, search *s, uint32_t found[2]) {
    float best;
    int n = 0;
    size_t since_most = SINCE_MOST;
    viterbi(l, &best);
    s->n_paths = s->n_queued = s->n_since = s->n_forgotten = 0;
    if (!search_room(s, 1)) return -1;
    add_path(s, best, 0, NONE, NONE);
    while (s->n_queued) {
        const uint32_t top = pop(s), first = s->paths[top].node;
        const float behind = s->paths[top].score;
        if (first == BEGINNING) {
            found[n++] = top;
            if (n == 2) return n;
            continue;
        }
        if (!search_room(s, l->n_nodes + 1)) return -1;
        const uint32_t begin = first == NONE ? (uint32_t)l->n : l->nodes[first].begin;
        if (begin == 0) add_path(s, behind, behind, BEGINNING, top);
        for (uint32_t k = begin ? l->first[begin] : NONE; k != NONE; k = l->nodes[k].next)
            add_path(s, l->nodes[k].best + behind, l->nodes[k].score + behind, k, top);
        if (s->n_paths >= PATHS_MOST) return 1;
        if (s->n_queued >= QUEUE_MOST || (s->n_queued > FEW_PATHS && s->n_since >= since_most)) {
            if (s->n_forgotten == FORGETS_MOST) return 1;
            s->n_since = forget(s);
            since_most = s->n_since + SINCE_MOST;
        }
    }
    return n;
}

/* The nodes of a whole path: how many, and the pieces if there is room for them. */
static size_t path_pieces(const lattice *l, const search *s, uint32_t whole, uint32_t *pieces) {
    size_t n = 0;
    for (uint32_t k = s->paths[whole].next; s->paths[k].next != NONE; k = s->paths[k].next, n++)
        if (pieces) pieces[n] = l->nodes[s->paths[k].node].piece;
    return n;
}

static float loss_of(const lf_unigram_trainer *t, uint32_t piece, const uint32_t *others, size_t n_others) {
    const float count = (float)t->numbers[piece], sum = (float)t->sum, logsum = (float)t->logsum;
    const float own = (float)(log((double)count) - logsum);
    const float sum_without = sum + count * (float)(n_others - 1);
    const float logsum_without = (float)log((double)sum_without);
    float without = 0;
    for (size_t i = 0; i < n_others; i++) {
        const float more = (float)t->numbers[others[i] == t->n_pieces ? 0 : others[i]] + count;
        without = (float)(without + (log((double)more) - logsum_without));
    }
    return count / sum * (own - without);
}

lf_status lf_unigram_exact_loss(lf_unigram_trainer *t, uint32_t first, uint32_t end) {
    lattice l = {0};
    search s = {0};
    lf_status status = LF_OK;
    uint32_t others[LF_UNIGRAM_LONGEST];
    for (uint32_t i = first; i < end && status == LF_OK; i++) {
        uint32_t found[2];
        t->losses[i] = 0;
        t->keeps[i] = LF_DROP;
        if (t->numbers[i] == 0) continue;
        const int n = t->piece_length[i] == 1                                    ? 1
                      : !lattice_fill(t, &l, t->piece_at[i], t->piece_length[i]) ? -1
                                                                                 : two_best(&l, &s, found);
        if (n < 0) {
            status = LF_ENOMEM;
        } else if (n == 1) {
            t->keeps[i] = LF_KEEP;
        } else if (path_pieces(&l, &s, found[0], NULL) == 1) {
            const size_t n_others = path_pieces(&l, &s, found[1], others);
            t->losses[i] = loss_of(t, i, others, n_others);
            t->keeps[i] = LF_KEEP_IF_WORTH;
        }
    }
    lattice_free(&l);
    free(s.paths), free(s.queue);
    return status;
}

lf_status lf_unigram_exact_shadow(lf_unigram_trainer *t, uint32_t first, uint32_t end) {
    lattice l = {0};
    lf_status status = LF_OK;
    for (uint32_t i = first; i < end && status == LF_OK; i++) {
        const unsigned n = t->piece_length[i];
        float other = -HUGE_VALF;
        if (n > 1 && !lattice_fill(t, &l, t->piece_at[i], n)) status = LF_ENOMEM;
        if (n > 1 && status == LF_OK) {
            for (size_t k = 0; k < l.n_nodes; k++)
                if (l.nodes[k].end - l.nodes[k].begin == n) l.nodes[k].score = -HUGE_VALF;
            viterbi(&l, &other);
        }
        t->keeps[i] = other > (float)t->scores[i] ? LF_DROP : LF_KEEP;
    }
    lattice_free(&l);
    return status;
}
