/* wordpiece.c - longest match by a trie; see wordpiece.h. */
#include "text/wordpiece.h"

#include <stdlib.h>

#include "text/utf8.h"

static lf_status insert_all(lf_trie *trie, size_t max_nodes, const uint8_t *blob, const int64_t *offsets,
                            const uint32_t *ids, size_t n_tokens) {
    const lf_status status = lf_trie_new(trie, max_nodes);
    for (size_t i = 0; status == LF_OK && i < n_tokens; i++)
        trie->values[lf_trie_insert(trie, blob + offsets[i], (size_t)(offsets[i + 1] - offsets[i]))] = ids[i];
    return status;
}

static uint32_t node_of(const lf_trie *trie, const uint8_t *string, size_t n) {
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++)
        if (!(node = lf_trie_child(trie, node, string[i]))) return LF_TRIE_NONE;
    return node;
}

lf_status lf_wordpiece_new(lf_wordpiece **model, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                           size_t n_tokens, const uint8_t *prefix, size_t n_prefix, uint32_t unk_id, size_t max_chars,
                           int whole) {
    lf_wordpiece *m = calloc(1, sizeof *m);
    if (!(*model = m)) return LF_ENOMEM;
    lf_status status = insert_all(&m->trie, (size_t)offsets[n_tokens] + 1, blob, offsets, ids, n_tokens);
    const size_t n_nodes = m->trie.n_nodes;
    if (status == LF_OK) { /* once more, by the number of nodes: small enough for the cache, sparse enough for a look */
        lf_trie_free(&m->trie);
        status = insert_all(&m->trie, 2 * n_nodes, blob, offsets, ids, n_tokens);
    }
    if (status != LF_OK) return lf_wordpiece_free(m), *model = NULL, status;
    m->continuing = node_of(&m->trie, prefix, n_prefix);
    m->unk_id = unk_id;
    m->max_chars = max_chars;
    m->whole = whole;
    return LF_OK;
}

void lf_wordpiece_free(lf_wordpiece *model) {
    if (model) lf_trie_free(&model->trie);
    free(model);
}

static size_t unknown(const lf_wordpiece *m, size_t n, uint32_t *ids, uint32_t *lengths) {
    ids[0] = m->unk_id;
    if (lengths) lengths[0] = (uint32_t)n;
    return m->unk_id != LF_TRIE_NONE;
}

static int is_longer(const uint8_t *word, size_t n, size_t max_chars) {
    if (n <= max_chars) return 0;
    size_t n_chars = 0;
    for (size_t i = 0; i < n; i++) n_chars += !lf_utf8_continues(word[i]);
    return n_chars > max_chars;
}

size_t lf_wordpiece_encode(const lf_wordpiece *m, const uint8_t *word, size_t n, uint32_t *ids, uint32_t *lengths) {
    if (is_longer(word, n, m->max_chars)) return unknown(m, n, ids, lengths);
    if (m->whole) {
        const uint32_t node = node_of(&m->trie, word, n);
        if (node == LF_TRIE_NONE || m->trie.values[node] == LF_TRIE_NONE) return unknown(m, n, ids, lengths);
        ids[0] = m->trie.values[node];
        if (lengths) lengths[0] = (uint32_t)n;
        return 1;
    }
    size_t n_ids = 0, start = 0;
    for (uint32_t root = 0; start < n; root = m->continuing) {
        uint32_t found = LF_TRIE_NONE, node = root;
        size_t end = start;
        if (root == LF_TRIE_NONE) return unknown(m, n, ids, lengths);
        for (size_t i = start; i < n && (node = lf_trie_child(&m->trie, node, word[i])); i++)
            if (m->trie.values[node] != LF_TRIE_NONE) found = m->trie.values[node], end = i + 1;
        if (found == LF_TRIE_NONE) return unknown(m, n, ids, lengths);
        if (lengths) lengths[n_ids] = (uint32_t)(end - start);
        ids[n_ids++] = found;
        start = end;
    }
    return n_ids;
}
