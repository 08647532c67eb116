/* scored_bpe.c - see scored_bpe.h. */
#include "text/scored_bpe.h"

#include <stdlib.h>
#include <string.h>

#include "text/chance.h"
#include "text/piece_kinds.h"
#include "text/sp_normalizer.h"

#define NOBODY 0xFFFFFFFFu

/* Building. */

static int mergeable(uint8_t kind) { return kind == LF_NORMAL || kind == LF_USER_DEFINED || kind == LF_UNUSED; }

/* A number that orders as the score does in sentencepiece: by the bits, so that -0 comes before 0. */
static uint32_t order_of(float score) {
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

/* By falling score, then by id. */
static int by_order(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static lf_status rank(lf_scored_bpe *m, const float *scores) {
    uint64_t *order = malloc((size_t)m->n_ids * sizeof *order + 1);
    if (!order) return LF_ENOMEM;
    for (uint32_t i = 0; i < m->n_ids; i++) order[i] = (uint64_t)~order_of(scores[i]) << 32 | i;
    qsort(order, m->n_ids, sizeof *order, by_order);
    uint32_t r = 0;
    for (uint32_t i = 0; i < m->n_ids; i++) {
        if (i && order[i] >> 32 != order[i - 1] >> 32) r++;
        m->ranks[(uint32_t)order[i]] = r;
    }
    free(order);
    return LF_OK;
}

/* Pieces mostly lie in the order of their scores, but for some that share the lowest one. Then only these are late; else
 * all pieces stay late. */
static void order_by_id(lf_scored_bpe *m) {
    uint32_t lowest = 0, before = NOBODY;
    for (uint32_t i = 0; i < m->n_ids; i++)
        if (mergeable(m->kinds[i]) && m->ranks[i] > lowest) lowest = m->ranks[i];
    for (uint32_t i = 0; i < m->n_ids; i++) {
        if (!mergeable(m->kinds[i]) || m->ranks[i] == lowest) continue;
        if (before != NOBODY && m->ranks[before] >= m->ranks[i]) return;
        before = i;
    }
    for (uint32_t i = 0; i < m->n_ids; i++)
        if (m->ranks[i] != lowest) m->late[i / 8] &= (uint8_t)~(1u << i % 8);
}

/* What two symbols join to, LF_NO_SYMBOL where they do not or one is a character that no piece has. */
static inline uint32_t find_pair(const lf_pairs *pairs, uint32_t left, uint32_t right) {
    return left == LF_UNIT_NONE || right == LF_UNIT_NONE ? LF_NO_SYMBOL : lf_pairs_find(pairs, left, right);
}

/* A user-defined piece is a symbol of its own and joins nothing. */
static int joins(const lf_scored_bpe *m, uint32_t symbol) {
    return symbol != LF_UNIT_NONE && (symbol >= m->n_ids || m->kinds[symbol] != LF_USER_DEFINED);
}

/* Puts each way of cutting a piece into two symbols; returns how many there are. The piece is one of m->pieces, so one
 * walk along it meets all its beginnings: what is left is as much as they are symbols. */
static size_t ways(lf_scored_bpe *m, const uint8_t *p, size_t n, uint32_t symbol, int put) {
    size_t n_ways = 0;
    uint64_t node = m->pieces.root;
    for (size_t at = 0; at < n;) {
        for (const size_t next = at + lf_sp_width(p + at, n - at); at < next; at++)
            lf_unit_step(&m->pieces, &node, p[at]);
        const uint32_t left = lf_unit_value(node);
        if (at == n || !joins(m, left)) continue;
        const uint32_t right = lf_double_array_find(&m->pieces, p + at, n - at);
        if (!joins(m, right)) continue;
        n_ways++;
        if (!put) continue;
        lf_pairs_put(&m->all, left, right, symbol);
        if (m->kinds[symbol] == LF_UNUSED) m->taken_apart[2 * symbol] = left, m->taken_apart[2 * symbol + 1] = right;
    }
    return n_ways;
}

static void note_neighbours(lf_scored_bpe *m, const uint8_t *p, size_t n) {
    for (size_t at = 0, width = lf_sp_width(p, n); at + width < n;) {
        const size_t right = at + width, right_width = lf_sp_width(p + right, n - right);
        const uint32_t bit =
            lf_scored_cut_bit(lf_scored_character(p + at, width), lf_scored_character(p + right, right_width));
        m->joined[bit / 8] |= (uint8_t)(1u << bit % 8);
        at = right, width = right_width;
    }
}

/* All mergeable pieces by id, and after them their characters that are no pieces. */
static lf_status collect(lf_scored_bpe *m, const uint8_t *blob, const int64_t *offsets, size_t *where) {
    lf_trie trie;
    lf_status status = lf_trie_new(&trie, 2 * (size_t)offsets[m->n_ids] + 2);
    if (status != LF_OK) return status;
    for (uint32_t i = 0; i < m->n_ids && status == LF_OK; i++) {
        if (!mergeable(m->kinds[i]) || offsets[i] == offsets[i + 1]) continue;
        const uint32_t node = lf_trie_insert(&trie, blob + offsets[i], (size_t)(offsets[i + 1] - offsets[i]));
        if (trie.values[node] != LF_TRIE_NONE) *where = i, status = LF_EVALUE;
        trie.values[node] = i;
    }
    m->n_symbols = m->n_ids;
    for (uint32_t i = 0; i < m->n_ids && status == LF_OK; i++) {
        if (!mergeable(m->kinds[i])) continue;
        const uint8_t *p = blob + offsets[i], *end = blob + offsets[i + 1];
        for (size_t width; p < end && status == LF_OK; p += width) {
            width = lf_sp_width(p, (size_t)(end - p));
            const uint32_t node = lf_trie_insert(&trie, p, width);
            if (trie.values[node] == LF_TRIE_NONE) trie.values[node] = m->n_symbols++;
            if (m->n_symbols >= LF_SCORED_MAX_SYMBOLS) *where = i, status = LF_EVALUE;
        }
    }
    if (status == LF_OK) status = lf_double_array_new(&m->pieces, &trie);
    lf_trie_free(&trie);
    return status;
}

static lf_status find_last(lf_scored_bpe *m, const uint8_t *blob, const int64_t *offsets);

static lf_status build(lf_scored_bpe *m, const uint8_t *blob, const int64_t *offsets, const float *scores,
                       size_t *where) {
    lf_status status = collect(m, blob, offsets, where);
    if (status != LF_OK) return status;
    size_t n_pairs = 0;
    for (uint32_t i = 0; i < m->n_ids; i++) {
        if (!mergeable(m->kinds[i])) continue;
        const size_t n_ways = ways(m, blob + offsets[i], (size_t)(offsets[i + 1] - offsets[i]), i, 0);
        n_pairs += n_ways;
        m->ambiguous |= n_ways > 1 && m->kinds[i] == LF_UNUSED;
    }
    m->ranks = malloc((size_t)m->n_symbols * sizeof *m->ranks + 1);
    m->taken_apart = malloc((size_t)m->n_ids * 2 * sizeof *m->taken_apart + 1);
    m->joined = calloc(1, (size_t)1 << (LF_SCORED_CUT_BITS - 3));
    m->late = malloc(m->n_ids / 8 + 1);
    if (!lf_pairs_new(&m->all, n_pairs) || !lf_pairs_new(&m->last, m->n_ids)) return LF_ENOMEM;
    if (!m->ranks || !m->taken_apart || !m->joined || !m->late) return LF_ENOMEM;
    memset(m->late, 0xFF, m->n_ids / 8 + 1);
    memset(m->taken_apart, 0xFF, (size_t)m->n_ids * 2 * sizeof *m->taken_apart);
    for (uint32_t i = 0; i < m->n_ids; i++) {
        if (!mergeable(m->kinds[i])) continue;
        ways(m, blob + offsets[i], (size_t)(offsets[i + 1] - offsets[i]), i, 1);
        note_neighbours(m, blob + offsets[i], (size_t)(offsets[i + 1] - offsets[i]));
    }
    for (unsigned c = 0; c < 0x800; c++) {
        const uint8_t two[2] = {(uint8_t)(0xC0 | c >> 6), (uint8_t)(0x80 | (c & 63))}, one = (uint8_t)c;
        m->below[c] = c < 128 ? lf_double_array_find(&m->pieces, &one, 1) : lf_double_array_find(&m->pieces, two, 2);
    }
    status = rank(m, scores);
    if (status == LF_OK && !m->ambiguous) status = find_last(m, blob, offsets);
    if (status != LF_OK) return status;
    for (unsigned a = 0; a < 128; a++)
        for (unsigned b = 0; b < 128; b++) m->ascii_pairs[a][b] = find_pair(&m->last, m->below[a], m->below[b]);
    order_by_id(m);
    return LF_OK;
}

lf_status lf_scored_bpe_new(lf_scored_bpe *m, const uint8_t *blob, const int64_t *offsets, const float *scores,
                            const uint8_t *kinds, uint32_t n_ids, const lf_double_array *symbols, size_t *where) {
    memset(m, 0, sizeof *m);
    m->kinds = kinds, m->n_ids = n_ids, m->symbols = symbols;
    *where = 0;
    const lf_status status = n_ids < LF_SCORED_MAX_SYMBOLS ? build(m, blob, offsets, scores, where) : LF_EVALUE;
    if (status != LF_OK) lf_scored_bpe_free(m);
    return status;
}

void lf_scored_bpe_free(lf_scored_bpe *m) {
    lf_double_array_free(&m->pieces);
    lf_pairs_free(&m->all), lf_pairs_free(&m->last);
    free(m->ranks), free(m->taken_apart), free(m->joined), free(m->late);
    memset(m, 0, sizeof *m);
}

/* Merging. */

size_t lf_scored_bpe_cut(const lf_scored_bpe *m, const uint8_t *text, size_t n, size_t from) {
    if (from >= n) return n;
    size_t width = lf_sp_width(text + from, n - from), at = from + width;
    uint32_t left = lf_scored_character(text + from, width);
    for (; at < n; at += width) {
        width = lf_sp_width(text + at, n - at);
        const uint32_t right = lf_scored_character(text + at, width), bit = lf_scored_cut_bit(left, right);
        if (!(m->joined[bit / 8] >> bit % 8 & 1)) return at;
        left = right;
    }
    return n;
}

static int make_room(lf_scored_scratch *s, size_t n_nodes, size_t n_heap) {
    if (n_nodes > s->n_nodes) {
        free(s->nodes);
        s->n_nodes = n_nodes + n_nodes / 2;
        s->nodes = malloc(s->n_nodes * sizeof *s->nodes);
        if (!s->nodes) return s->n_nodes = 0;
    }
    if (n_heap > s->n_heap) {
        free(s->heap);
        s->n_heap = n_heap + n_heap / 2;
        s->heap = malloc(s->n_heap * sizeof *s->heap);
        if (!s->heap) return s->n_heap = 0;
    }
    return 1;
}

/* The symbol that a text begins with, and its bytes. */
static inline uint32_t first_symbol(const lf_scored_bpe *m, const uint8_t *text, size_t n, size_t *n_bytes) {
    *n_bytes = m->symbols ? lf_sp_symbol(m->symbols, text, n) : 0;
    if (!*n_bytes) {
        if (text[0] < 0x80) return *n_bytes = 1, m->below[text[0]];
        if (text[0] >= 0xC2 && text[0] < 0xE0 && n > 1 && (text[1] & 0xC0) == 0x80)
            return *n_bytes = 2, m->below[(text[0] & 31u) << 6 | (text[1] & 63u)];
        *n_bytes = lf_sp_width(text, n);
    }
    return lf_double_array_find(&m->pieces, text, *n_bytes);
}

/* The symbols that merging begins with; returns how many. */
static size_t begin(const lf_scored_bpe *m, const uint8_t *text, size_t n, lf_scored_node *nodes) {
    size_t n_nodes = 0;
    for (size_t at = 0, n_bytes; at < n; at += n_bytes, n_nodes++) {
        const uint32_t symbol = first_symbol(m, text + at, n - at, &n_bytes);
        nodes[n_nodes] = (lf_scored_node){symbol, (uint32_t)n_bytes, (uint32_t)n_nodes + 1, (uint32_t)n_nodes - 1};
    }
    nodes[n_nodes - 1].next = NOBODY;
    return n_nodes;
}

/* Orders the pairs of a few symbols: by what symbols i and the next join to, and by i. */
static inline uint32_t key_of(const lf_scored_bpe *m, uint32_t merged, uint32_t i) {
    if (merged == LF_NO_SYMBOL) return NOBODY;
    const int late = m->late[merged / 8] >> merged % 8 & 1; /* a load from a few bytes in place of one from all ranks */
    return (LF_UNLIKELY(late) ? m->n_ids + m->ranks[merged] : merged) * LF_SCORED_FEW + i;
}

/* The smallest of n keys and one more, which is there. Numbers that were just stored one by one are read one by one: a
 * load of four at once would have to wait for them, which is what `volatile` prevents. */
static inline uint32_t least_of(const volatile uint32_t *keys, size_t n) {
    uint32_t a = NOBODY, b = NOBODY;
    for (size_t i = 0; i < n; i += 2) {
        const uint32_t x = keys[i], y = keys[i + 1];
        a = x < a ? x : a, b = y < b ? y : b;
    }
    return a < b ? a : b;
}

/* lf_scored_bpe_merge_few by any table of pairs: the best pair is found by looking at all of them; the smallest key is the
 * leftmost of the best. The two symbols of the last merge go to *last. */
static uint32_t merge_few(const lf_scored_bpe *m, const lf_pairs *pairs, const uint8_t *text, size_t n_bytes,
                          uint32_t *symbols, uint32_t *starts, uint64_t *last) {
    uint32_t merged[LF_SCORED_FEW], keys[LF_SCORED_FEW + 1], n = 0;
    for (size_t at = 0, width; at < n_bytes; at += width, n++) {
        if (n == LF_SCORED_FEW) return 0;
        starts[n] = (uint32_t)at;
        symbols[n] = first_symbol(m, text + at, n_bytes - at, &width);
    }
    starts[n] = (uint32_t)n_bytes;
    for (uint32_t i = 0; i + 1 < n; i++) {
        const uint8_t *p = text + starts[i];
        if (starts[i + 2] - starts[i] == 2 && (p[0] | p[1]) < 128 && pairs == &m->last)
            merged[i] = m->ascii_pairs[p[0]][p[1]];
        else merged[i] = find_pair(pairs, symbols[i], symbols[i + 1]);
        keys[i] = key_of(m, merged[i], i);
    }
    keys[n - 1] = keys[n] = NOBODY;
    uint64_t left = ((uint64_t)1 << n) - 1; /* a bit for each symbol that is */
    for (uint32_t best; (best = least_of(keys, n)) != NOBODY;) {
        const uint32_t at = best % LF_SCORED_FEW, symbol = merged[at];
        uint64_t after = left & ~(uint64_t)1 << at;
        const uint64_t before = left & (((uint64_t)1 << at) - 1);
        const unsigned gone = (unsigned)__builtin_ctzll(after);
        after &= after - 1, left &= ~((uint64_t)1 << gone);
        *last = (uint64_t)symbols[at] << 32 | symbols[gone];
        symbols[at] = symbol;
        keys[gone] = keys[at] = NOBODY;
        if (after) {
            merged[at] = find_pair(pairs, symbol, symbols[__builtin_ctzll(after)]);
            keys[at] = key_of(m, merged[at], at);
        }
        if (before) {
            const unsigned i = 63 - (unsigned)__builtin_clzll(before);
            merged[i] = find_pair(pairs, symbols[i], symbol);
            keys[i] = key_of(m, merged[i], i);
        }
    }
    uint32_t k = 0;
    for (; left; left &= left - 1, k++) {
        const unsigned i = (unsigned)__builtin_ctzll(left);
        symbols[k] = symbols[i], starts[k] = starts[i];
    }
    starts[k] = (uint32_t)n_bytes;
    return k;
}

uint32_t lf_scored_bpe_merge_few(const lf_scored_bpe *m, const uint8_t *text, size_t n, uint32_t *symbols,
                                 uint32_t *starts) {
    uint64_t last;
    return m->ambiguous ? 0 : merge_few(m, &m->last, text, n, symbols, starts, &last);
}

static void push(lf_scored_entry *heap, size_t *n, lf_scored_entry entry) {
    size_t i = (*n)++;
    for (; i && heap[(i - 1) / 2].key > entry.key; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = entry;
}

static lf_scored_entry pop(lf_scored_entry *heap, size_t *n) {
    const lf_scored_entry top = heap[0], last = heap[--*n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < *n; i = child) {
        if (child + 1 < *n && heap[child + 1].key < heap[child].key) child++;
        if (heap[child].key >= last.key) break;
        heap[i] = heap[child];
    }
    if (*n) heap[i] = last;
    return top;
}

/* Notes that a node and the next one join, if they do. */
static void propose(const lf_scored_bpe *m, const lf_pairs *pairs, lf_scored_scratch *s, size_t *n_heap,
                    uint32_t left) {
    const uint32_t right = s->nodes[left].next;
    if (right == NOBODY) return;
    const uint32_t a = s->nodes[left].symbol, b = s->nodes[right].symbol, merged = find_pair(pairs, a, b);
    if (merged == LF_NO_SYMBOL) return;
    push(s->heap, n_heap, (lf_scored_entry){(uint64_t)m->ranks[merged] << 32 | left, a, b});
    if (s->apart && merged < m->n_ids && m->kinds[merged] == LF_UNUSED)
        s->apart[2 * merged] = a, s->apart[2 * merged + 1] = b;
}

/* The two symbols of the last merge go to *last. */
static void merge_many(const lf_scored_bpe *m, const lf_pairs *pairs, lf_scored_scratch *s, size_t n,
                       lf_scored_chance *chance, uint64_t *last) {
    size_t n_heap = 0;
    for (size_t i = 0; i < n; i++) propose(m, pairs, s, &n_heap, (uint32_t)i);
    if (chance && chance->dropout >= 1) return;
    while (n_heap) {
        const lf_scored_entry top = pop(s->heap, &n_heap);
        lf_scored_node *left = &s->nodes[(uint32_t)top.key];
        if (!left->length || left->symbol != top.left_symbol || left->next == NOBODY) continue;
        lf_scored_node *right = &s->nodes[left->next];
        if (right->symbol != top.right_symbol) continue;
        if (chance && chance->dropout > 0 && lf_chance_uniform(&chance->state) < chance->dropout) continue;
        const uint32_t at = (uint32_t)top.key;
        *last = (uint64_t)top.left_symbol << 32 | top.right_symbol;
        left->symbol = find_pair(pairs, top.left_symbol, top.right_symbol);
        left->length += right->length;
        left->next = right->next;
        right->length = 0;
        if (left->next != NOBODY) s->nodes[left->next].before = at;
        if (left->before != NOBODY) propose(m, pairs, s, &n_heap, left->before);
        propose(m, pairs, s, &n_heap, at);
    }
}

lf_status lf_scored_bpe_merge(const lf_scored_bpe *m, const uint8_t *text, size_t n, lf_scored_scratch *s,
                              lf_scored_chance *chance) {
    if (!make_room(s, n + 1, 0)) return LF_ENOMEM;
    if (m->ambiguous && !s->apart) {
        s->apart = malloc((size_t)m->n_ids * 2 * sizeof *s->apart + 1);
        if (!s->apart) return LF_ENOMEM;
    }
    const lf_pairs *pairs = m->ambiguous || chance ? &m->all : &m->last;
    uint64_t last;
    const size_t n_nodes = begin(m, text, n, s->nodes);
    if (!make_room(s, 0, 3 * n_nodes + 1)) return LF_ENOMEM; /* each merge proposes two more */
    if (s->apart) memset(s->apart, 0xFF, (size_t)m->n_ids * 2 * sizeof *s->apart);
    merge_many(m, pairs, s, n_nodes, chance, &last);
    return LF_OK;
}

/* Finds the pair that each piece forms from: the last one when its bytes alone are merged by all pairs. */
static lf_status find_last(lf_scored_bpe *m, const uint8_t *blob, const int64_t *offsets) {
    lf_scored_scratch s = {0};
    lf_status status = LF_OK;
    for (uint32_t id = 0; id < m->n_ids && status == LF_OK; id++) {
        const size_t n = (size_t)(offsets[id + 1] - offsets[id]);
        if (!n || !mergeable(m->kinds[id])) continue;
        if (!make_room(&s, n + 1, 3 * n + 1)) {
            status = LF_ENOMEM;
            break;
        }
        const uint8_t *p = blob + offsets[id];
        uint32_t symbols[LF_SCORED_FEW], starts[LF_SCORED_FEW + 1];
        uint64_t last = UINT64_MAX; /* nothing was merged */
        if (!merge_few(m, &m->all, p, n, symbols, starts, &last)) {
            merge_many(m, &m->all, &s, begin(m, p, n, s.nodes), NULL, &last);
            symbols[0] = s.nodes[0].symbol;
        }
        if (last != UINT64_MAX && symbols[0] == id) lf_pairs_put(&m->last, (uint32_t)(last >> 32), (uint32_t)last, id);
    }
    lf_scored_scratch_free(&s);
    return status;
}

void lf_scored_scratch_free(lf_scored_scratch *s) {
    free(s->nodes), free(s->heap), free(s->apart);
    memset(s, 0, sizeof *s);
}
