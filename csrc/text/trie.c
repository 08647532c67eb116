/* trie.c - building a trie; see trie.h. */
#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

lf_status lf_trie_new(lf_trie *trie, size_t max_nodes) {
    memset(trie, 0, sizeof *trie);
    if (max_nodes >= LF_TRIE_MAX_NODES) return LF_EVALUE;
    trie->bits = 4;
    while (((size_t)1 << trie->bits) < max_nodes + max_nodes / 2) trie->bits++;
    trie->edges = calloc((size_t)1 << trie->bits, sizeof *trie->edges);
    trie->values = malloc((max_nodes + 1) * sizeof *trie->values);
    trie->parents = malloc((max_nodes + 1) * sizeof *trie->parents);
    if (!trie->edges || !trie->values || !trie->parents) return lf_trie_free(trie), LF_ENOMEM;
    trie->values[0] = LF_TRIE_NONE;
    trie->parents[0] = 0;
    trie->n_nodes = 1;
    return LF_OK;
}

void lf_trie_free(lf_trie *trie) {
    free(trie->edges);
    free(trie->values);
    free(trie->parents);
    memset(trie, 0, sizeof *trie);
}

uint32_t lf_trie_insert(lf_trie *trie, const uint8_t *string, size_t n) {
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t key = (uint64_t)node << 8 | string[i];
        size_t at = lf_trie_slot(trie, key);
        while (trie->edges[at] && trie->edges[at] >> 28 != key) at = (at + 1) & (((size_t)1 << trie->bits) - 1);
        if (!trie->edges[at]) {
            const uint32_t child = trie->n_nodes++;
            trie->edges[at] = key << 28 | child;
            trie->values[child] = LF_TRIE_NONE;
            trie->parents[child] = node;
        }
        node = (uint32_t)(trie->edges[at] & (LF_TRIE_MAX_NODES - 1));
    }
    return node;
}
