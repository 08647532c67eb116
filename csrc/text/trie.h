/* trie.h - byte strings to numbers, walked a byte at a time.
 *
 * Edges live in one open-addressing hash table of 8-byte slots, so building needs no sorting and a walk touches one
 * slot a byte:
 *
 *     slot = parent node (28 bits) | byte (8) | child node (28)      0 = free; the root is node 0 and nobody's child
 *
 * Memory: 16 bytes or less a node. Building and walking are linear in the bytes. */
#ifndef LF_TEXT_TRIE_H
#define LF_TEXT_TRIE_H

#include "lf.h"

#define LF_TRIE_NONE 0xFFFFFFFFu /* the value of a node where no string ends */
#define LF_TRIE_MAX_NODES (1u << 28)

typedef struct {
    uint64_t *edges;   /* 1 << bits slots                                     */
    uint32_t *values;  /* one a node: the number of the string that ends there */
    uint32_t *parents; /* one a node                                          */
    uint32_t n_nodes;
    unsigned bits;
} lf_trie;

/* An empty trie with room for `max_nodes` nodes: the root and one for each byte inserted. */
lf_status lf_trie_new(lf_trie *trie, size_t max_nodes);
void lf_trie_free(lf_trie *trie);

static inline size_t lf_trie_slot(const lf_trie *trie, uint64_t parent_and_byte) {
    return (size_t)(parent_and_byte * 0x9E3779B97F4A7C15u >> (64 - trie->bits));
}

/* The child of a node by a byte, 0 if there is none. */
static inline uint32_t lf_trie_child(const lf_trie *trie, uint32_t node, uint8_t byte) {
    const uint64_t key = (uint64_t)node << 8 | byte;
    for (size_t at = lf_trie_slot(trie, key);; at = (at + 1) & (((size_t)1 << trie->bits) - 1)) {
        const uint64_t slot = trie->edges[at];
        if (slot >> 28 == key && (slot & (LF_TRIE_MAX_NODES - 1))) return (uint32_t)(slot & (LF_TRIE_MAX_NODES - 1));
        if (!slot) return 0;
    }
}

/* The node at the end of a string, made where it does not exist yet. */
uint32_t lf_trie_insert(lf_trie *trie, const uint8_t *string, size_t n);

#endif
