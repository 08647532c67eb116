/* double_array.c - laying a trie out as a double array; see double_array.h. */
#include "text/double_array.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256, RECENT = 16 }; /* blocks that are searched for a place before a new one is begun */

/* A set of 256 units or bases of a block. */
typedef struct {
    uint64_t words[4];
} set256;

typedef struct {
    lf_double_array *array;
    set256 *taken, *bases; /* by block: the units taken, the bases in use */
    size_t n_blocks, room; /* blocks in use and allocated */
} layout;

/* The edges of a trie by parent: edge e of node v is edges[starts[v] <= e < starts[v + 1]]. */
typedef struct {
    uint32_t *starts;
    uint64_t *edges; /* byte (8) | child (28) */
} children;

static set256 only(unsigned bit) {
    set256 s = {{0}};
    s.words[bit / 64] = (uint64_t)1 << bit % 64;
    return s;
}

static void add(set256 *s, unsigned bit) { s->words[bit / 64] |= (uint64_t)1 << bit % 64; }

/* { x ^ byte : x in s } */
static set256 moved(set256 s, uint8_t byte) {
    static const uint64_t LOW[6] = {0x5555555555555555u, 0x3333333333333333u, 0x0F0F0F0F0F0F0F0Fu,
                                    0x00FF00FF00FF00FFu, 0x0000FFFF0000FFFFu, 0x00000000FFFFFFFFu};
    set256 out;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t v = s.words[i];
        for (unsigned b = 0; b < 6; b++)
            if (byte >> b & 1) v = (v & LOW[b]) << (1u << b) | (v >> (1u << b) & LOW[b]);
        out.words[i ^ byte >> 6] = v;
    }
    return out;
}

static int grow(layout *l) {
    if (l->n_blocks < l->room) return 1;
    const size_t room = 2 * l->room + 16;
    if (room * BLOCK > LF_UNIT_NONE) return 0;
    uint64_t *units = realloc(l->array->units, room * BLOCK * sizeof *units);
    if (units) l->array->units = units;
    set256 *taken = realloc(l->taken, room * sizeof *taken);
    if (taken) l->taken = taken;
    set256 *bases = realloc(l->bases, room * sizeof *bases);
    if (bases) l->bases = bases;
    if (!units || !taken || !bases) return 0;
    l->room = room;
    return 1;
}

/* Gives each free unit of a block a byte by which no base in use reaches it. A block with a free unit has a base that is
 * not in use: there are no more bases than units taken. */
static void close_block(const layout *l, size_t block) {
    unsigned unused = 0;
    while (unused < BLOCK && l->bases[block].words[unused / 64] >> unused % 64 & 1) unused++;
    for (unsigned i = 0; i < BLOCK; i++)
        if (!(l->taken[block].words[i / 64] >> i % 64 & 1))
            l->array->units[block * BLOCK + i] = (uint64_t)((i ^ unused) & 255) << 28 | LF_UNIT_NONE;
}

/* A base whose units for all n bytes are free; SIZE_MAX if there is no memory. */
static size_t place(layout *l, const uint64_t *edges, size_t n) {
    size_t block = l->n_blocks > RECENT ? l->n_blocks - RECENT : 1;
    for (; block < l->n_blocks; block++) {
        set256 fit;
        for (unsigned w = 0; w < 4; w++) fit.words[w] = ~l->bases[block].words[w];
        for (size_t e = 0; e < n; e++) {
            const set256 taken = moved(l->taken[block], (uint8_t)(edges[e] >> 28));
            for (unsigned w = 0; w < 4; w++) fit.words[w] &= ~taken.words[w];
        }
        for (unsigned w = 0; w < 4; w++)
            if (fit.words[w]) return block * BLOCK + w * 64 + (unsigned)__builtin_ctzll(fit.words[w]);
    }
    if (!grow(l)) return SIZE_MAX;
    l->taken[block] = l->bases[block] = (set256){{0}};
    l->n_blocks++;
    return block * BLOCK;
}

static int children_of(children *c, const lf_trie *trie) {
    c->starts = calloc((size_t)trie->n_nodes + 2, sizeof *c->starts);
    c->edges = malloc((size_t)trie->n_nodes * sizeof *c->edges);
    if (!c->starts || !c->edges) return 0;
    for (uint32_t v = 1; v < trie->n_nodes; v++) c->starts[trie->parents[v] + 2]++;
    for (uint32_t v = 2; v <= trie->n_nodes + 1; v++) c->starts[v] += c->starts[v - 1];
    for (size_t at = 0; at < (size_t)1 << trie->bits; at++)
        if (trie->edges[at])
            c->edges[c->starts[(trie->edges[at] >> 36) + 1]++] = trie->edges[at] & (((uint64_t)1 << 36) - 1);
    return 1;
}

/* Depth first, so that the units of a string lie near each other. `stack` and `at` (the unit of a node) have room for
 * every node. */
static int lay_out(layout *l, const lf_trie *trie, const children *c, uint32_t *stack, uint32_t *at) {
    size_t n_stack = 0;
    stack[n_stack++] = 0;
    while (n_stack) {
        const uint32_t node = stack[--n_stack];
        const uint64_t *edges = c->edges + c->starts[node];
        const size_t n = c->starts[node + 1] - c->starts[node];
        uint64_t *unit = node ? &l->array->units[at[node]] : &l->array->root;
        if (!n) continue;
        const size_t base = place(l, edges, n);
        if (base == SIZE_MAX) return 0;
        unit = node ? &l->array->units[at[node]] : &l->array->root; /* they may have moved */
        *unit |= (uint64_t)base << 36;
        add(&l->bases[base / BLOCK], base % BLOCK);
        for (size_t e = 0; e < n; e++) {
            const uint8_t byte = (uint8_t)(edges[e] >> 28);
            const uint32_t child = (uint32_t)edges[e] & (LF_TRIE_MAX_NODES - 1), value = trie->values[child];
            at[child] = (uint32_t)(base ^ byte);
            add(&l->taken[base / BLOCK], at[child] % BLOCK);
            l->array->units[at[child]] = (uint64_t)byte << 28 | (value == LF_TRIE_NONE ? LF_UNIT_NONE : value);
            stack[n_stack++] = child;
        }
    }
    for (size_t block = 0; block < l->n_blocks; block++) close_block(l, block);
    return 1;
}

lf_status lf_double_array_new(lf_double_array *array, const lf_trie *trie) {
    *array = (lf_double_array){NULL, LF_UNIT_NONE, 0};
    layout l = {array, NULL, NULL, 0, 0};
    children c = {NULL, NULL};
    uint32_t *stack = malloc((size_t)trie->n_nodes * sizeof *stack), *at = malloc((size_t)trie->n_nodes * sizeof *at);
    int ok = stack && at && grow(&l) && children_of(&c, trie);
    if (ok) {
        l.taken[0] = (set256){{0}}, l.bases[0] = only(0); /* the block of the nodes without children */
        l.n_blocks = 1;
        ok = lay_out(&l, trie, &c, stack, at);
    }
    array->n_units = l.n_blocks * BLOCK;
    free(stack), free(at), free(c.starts), free(c.edges), free(l.taken), free(l.bases);
    if (!ok) lf_double_array_free(array);
    return ok ? LF_OK : LF_ENOMEM;
}

void lf_double_array_free(lf_double_array *array) {
    free(array->units);
    *array = (lf_double_array){NULL, LF_UNIT_NONE, 0};
}
