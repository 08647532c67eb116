/* word_bpe.c - see word_bpe.h. */
#define _GNU_SOURCE /* madvise and MAP_ANONYMOUS */
#include "text/word_bpe.h"

#include <stdlib.h>
#include <string.h>

#include "text/automaton.h"
#include "text/pages.h"

#define MIX 0x9E3779B97F4A7C15u
#define NO_NODE 0xFFFFFFFFu

typedef struct {
    uint64_t pair; /* left (32) | right (32), plus 1; 0: free */
    uint32_t rank, made;
} merge;

typedef struct {
    uint32_t key, id; /* key plus 1; 0: free */
} symbol;

struct lf_word_bpe {
    lf_word_parts parts;
    merge *merges;   /* 1 << merge_bits, by hash */
    symbol *symbols; /* 1 << symbol_bits */
    unsigned merge_bits, symbol_bits;
    lf_double_array whole;
};

typedef struct {
    uint32_t id, length; /* length 0: joined to the one before it */
    uint32_t next, before;
} node;

typedef struct {
    uint64_t key; /* rank (32) | left node (32): the smallest comes first */
    uint32_t made;
} entry;

/* Building. */

static merge *merge_place(const lf_word_bpe *m, uint32_t left, uint32_t right) {
    const uint64_t pair = ((uint64_t)left << 32 | right) + 1;
    const size_t mask = ((size_t)1 << m->merge_bits) - 1;
    size_t at = (size_t)(pair * MIX >> (64 - m->merge_bits));
    while (m->merges[at].pair && m->merges[at].pair != pair) at = (at + 1) & mask;
    return &m->merges[at];
}

static symbol *symbol_place(const lf_word_bpe *m, uint32_t key) {
    const size_t mask = ((size_t)1 << m->symbol_bits) - 1;
    size_t at = (size_t)(key * MIX >> (64 - m->symbol_bits));
    while (m->symbols[at].key && m->symbols[at].key != key + 1) at = (at + 1) & mask;
    return &m->symbols[at];
}

static unsigned bits_for(size_t n) {
    unsigned bits = 4;
    while ((size_t)1 << bits < 2 * n) bits++;
    return bits;
}

static lf_status note_whole(lf_word_bpe *m) {
    const lf_word_parts *p = &m->parts;
    lf_trie trie = {0};
    lf_status status = lf_trie_new(&trie, (size_t)p->offsets[p->n_whole] + 1);
    for (size_t i = 0; status == LF_OK && i < p->n_whole; i++)
        trie.values[lf_trie_insert(&trie, p->blob + p->offsets[i], (size_t)(p->offsets[i + 1] - p->offsets[i]))] =
            p->ids[i];
    if (status == LF_OK) status = lf_double_array_new(&m->whole, &trie);
    lf_trie_free(&trie);
    return status;
}

static lf_status build(lf_word_bpe *m) {
    const lf_word_parts *p = &m->parts;
    if (p->n_merges >= NO_NODE || p->n_symbols >= NO_NODE || p->n_ids >= LF_UNIT_NONE) return LF_EVALUE;
    m->merge_bits = bits_for(p->n_merges), m->symbol_bits = bits_for(p->n_symbols);
    m->merges = calloc((size_t)1 << m->merge_bits, sizeof *m->merges);
    m->symbols = calloc((size_t)1 << m->symbol_bits, sizeof *m->symbols);
    if (!m->merges || !m->symbols) return LF_ENOMEM;
    for (size_t i = 0; i < p->n_merges; i++) {
        const uint32_t *x = p->merges + 3 * i;
        *merge_place(m, x[0], x[1]) = (merge){((uint64_t)x[0] << 32 | x[1]) + 1, (uint32_t)i, x[2]};
    }
    for (size_t i = 0; i < p->n_symbols; i++)
        *symbol_place(m, p->symbols[2 * i]) = (symbol){p->symbols[2 * i] + 1, p->symbols[2 * i + 1]};
    return p->n_whole ? note_whole(m) : LF_OK;
}

lf_status lf_word_bpe_new(lf_word_bpe **out, const lf_word_parts *parts) {
    lf_word_bpe *m = *out = calloc(1, sizeof *m);
    if (!m) return LF_ENOMEM;
    m->parts = *parts;
    const lf_status status = build(m);
    if (status != LF_OK) lf_word_bpe_free(m), *out = NULL;
    return status;
}

void lf_word_bpe_free(lf_word_bpe *m) {
    if (!m) return;
    free(m->merges), free(m->symbols);
    lf_double_array_free(&m->whole);
    free(m);
}

size_t lf_word_bpe_growth(const lf_word_bpe *m) {
    return m->parts.fallback ? 1 + m->parts.n_prefix + m->parts.n_suffix : 1;
}

/* Memory. */

lf_status lf_word_scratch_reserve(lf_word_scratch *s, size_t n) {
    const int done = lf_grow(&s->ids, &s->room_ids, n * sizeof *s->ids) &&
                     lf_grow(&s->lengths, &s->room_lengths, n * sizeof *s->lengths);
    return done ? LF_OK : LF_ENOMEM;
}

void lf_word_scratch_free(lf_word_scratch *s) {
    free(s->ids), free(s->lengths), free(s->nodes), free(s->heap);
    memset(s, 0, sizeof *s);
}

/* Encoding. */

/* The tokens of the bytes of a character with its affixes, if all are there; returns how many. */
static size_t fall_back(const lf_word_parts *p, const uint8_t *c, size_t n, int first, int last, node *to) {
    const uint8_t *strings[3] = {p->prefix, c, p->suffix};
    const size_t sizes[3] = {first ? 0 : p->n_prefix, n, last ? p->n_suffix : 0};
    size_t count = 0;
    for (int part = 0; part < 3; part++)
        for (size_t i = 0; i < sizes[part]; i++) {
            const uint32_t id = p->fallback[strings[part][i]];
            if (id == LF_WORD_NO_ID) return 0;
            to[count++] = (node){id, 1, 0, 0};
        }
    return count;
}

/* The symbols that merging begins with. An unknown one is held back until a known character comes: the bytes of another come
 * before it, as in tokenizers. Returns how many. */
static size_t begin(const lf_word_bpe *m, const uint8_t *word, size_t n, node *nodes) {
    const lf_word_parts *p = &m->parts;
    size_t count = 0, found;
    uint32_t unknown = 0;
    for (size_t at = 0, next; at < n; at = next) {
        uint32_t cp = word[at];
        next = at + (p->by_bytes ? 1 : lf_automaton_read(word + at, &cp));
        const symbol *place = symbol_place(m, cp << 2 | (at == 0) << 1 | (next == n));
        if (place->key) {
            if (unknown && p->unknown_id != LF_WORD_NO_ID) nodes[count++] = (node){p->unknown_id, unknown, 0, 0};
            unknown = 0;
            nodes[count++] = (node){place->id, (uint32_t)(next - at), 0, 0};
        } else if (p->fallback && (found = fall_back(p, word + at, next - at, at == 0, next == n, nodes + count))) {
            count += found;
        } else if (p->unknown_id != LF_WORD_NO_ID) {
            if (unknown && !p->fuse_unknown) nodes[count++] = (node){p->unknown_id, unknown, 0, 0}, unknown = 0;
            unknown += (uint32_t)(next - at);
        }
    }
    if (unknown) nodes[count++] = (node){p->unknown_id, unknown, 0, 0};
    for (size_t i = 0; i < count; i++)
        nodes[i].next = i + 1 < count ? (uint32_t)i + 1 : NO_NODE, nodes[i].before = (uint32_t)i - 1;
    return count;
}

static void push(entry *heap, size_t *n, entry e) {
    size_t at = (*n)++;
    for (; at && heap[(at - 1) / 2].key > e.key; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = e;
}

static entry pop(entry *heap, size_t *n) {
    const entry top = heap[0], last = heap[--*n];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < *n; at = child) {
        if (child + 1 < *n && heap[child + 1].key < heap[child].key) child++;
        if (heap[child].key >= last.key) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

static void consider(const lf_word_bpe *m, const node *nodes, uint32_t at, entry *heap, size_t *n) {
    if (at == NO_NODE || nodes[at].next == NO_NODE) return;
    const merge *found = merge_place(m, nodes[at].id, nodes[nodes[at].next].id);
    if (found->pair) push(heap, n, (entry){(uint64_t)found->rank << 32 | at, found->made});
}

static void merge_all(const lf_word_bpe *m, node *nodes, size_t count, entry *heap) {
    size_t n = 0;
    for (size_t i = 0; i + 1 < count; i++) consider(m, nodes, (uint32_t)i, heap, &n);
    while (n) {
        const entry top = pop(heap, &n);
        node *left = &nodes[(uint32_t)top.key];
        if (!left->length || left->next == NO_NODE) continue;
        node *right = &nodes[left->next];
        const merge *now = merge_place(m, left->id, right->id);
        if (!now->pair || now->made != top.made) continue;
        left->id = top.made;
        left->length += right->length;
        right->length = 0;
        left->next = right->next;
        if (left->next != NO_NODE) nodes[left->next].before = (uint32_t)top.key;
        consider(m, nodes, left->before, heap, &n);
        consider(m, nodes, (uint32_t)top.key, heap, &n);
    }
}

lf_status lf_word_bpe_encode(const lf_word_bpe *m, const uint8_t *word, size_t n, lf_word_scratch *s, size_t *n_ids) {
    const size_t most = n * lf_word_bpe_growth(m) + 1;
    *n_ids = 0;
    /* Each pair is pushed once at the begin, and each merge pushes two. */
    if (lf_word_scratch_reserve(s, most) != LF_OK || !lf_grow(&s->nodes, &s->room_nodes, most * sizeof(node)) ||
        !lf_grow(&s->heap, &s->room_heap, 3 * most * sizeof(entry)))
        return LF_ENOMEM;
    if (m->parts.n_whole) {
        const uint32_t id = lf_double_array_find(&m->whole, word, n);
        if (id != LF_UNIT_NONE) return s->ids[0] = id, s->lengths[0] = (uint32_t)n, *n_ids = 1, LF_OK;
    }
    node *nodes = s->nodes;
    const size_t count = begin(m, word, n, nodes);
    merge_all(m, nodes, count, s->heap);
    for (size_t i = 0; i < count; i++)
        if (nodes[i].length) s->ids[*n_ids] = nodes[i].id, s->lengths[(*n_ids)++] = nodes[i].length;
    return LF_OK;
}
