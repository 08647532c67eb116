/* wordpiece.c - longest match by a trie; see wordpiece.h. */
#include "text/wordpiece.h"

#include <stdlib.h>

#include "text/utf8.h"

/* Where a string ends in the array; 0 if it begins no token. */
static int walk(const lf_double_array *tokens, const uint8_t *string, size_t n, uint64_t *node) {
    *node = tokens->root;
    for (size_t i = 0; i < n; i++)
        if (!lf_unit_step(tokens, node, string[i])) return 0;
    return 1;
}

lf_status lf_wordpiece_new(lf_wordpiece **model, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                           size_t n_tokens, const uint8_t *prefix, size_t n_prefix, uint32_t unk_id, size_t max_chars,
                           int whole) {
    lf_wordpiece *m = calloc(1, sizeof *m);
    lf_trie trie = {0};
    if (!(*model = m)) return LF_ENOMEM;
    lf_status status = lf_trie_new(&trie, (size_t)offsets[n_tokens] + 1);
    for (size_t i = 0; status == LF_OK && i < n_tokens; i++)
        trie.values[lf_trie_insert(&trie, blob + offsets[i], (size_t)(offsets[i + 1] - offsets[i]))] = ids[i];
    if (status == LF_OK) status = lf_double_array_new(&m->tokens, &trie);
    lf_trie_free(&trie);
    if (status != LF_OK) return lf_wordpiece_free(m), *model = NULL, status;
    m->continues = walk(&m->tokens, prefix, n_prefix, &m->continuing);
    m->unk_id = unk_id;
    if (unk_id != LF_UNIT_NONE) m->n_ids = unk_id + 1;
    for (size_t i = 0; i < n_tokens; i++)
        if (ids[i] >= m->n_ids) m->n_ids = ids[i] + 1;
    m->max_chars = max_chars;
    m->whole = whole;
    return LF_OK;
}

void lf_wordpiece_free(lf_wordpiece *model) {
    if (model) lf_double_array_free(&model->tokens);
    free(model);
}

static size_t unknown(const lf_wordpiece *m, size_t n, uint32_t *ids, uint32_t *lengths) {
    ids[0] = m->unk_id;
    if (lengths) lengths[0] = (uint32_t)n;
    return m->unk_id != LF_UNIT_NONE;
}

static int is_longer(const uint8_t *word, size_t n, size_t max_chars) {
    return n > max_chars && lf_utf8_count(word, n) > max_chars;
}

size_t lf_wordpiece_encode(const lf_wordpiece *m, const uint8_t *word, size_t n, uint32_t *ids, uint32_t *lengths) {
    if (is_longer(word, n, m->max_chars)) return unknown(m, n, ids, lengths);
    if (m->whole) {
        const uint32_t id = lf_double_array_find(&m->tokens, word, n);
        if (id == LF_UNIT_NONE) return unknown(m, n, ids, lengths);
        ids[0] = id;
        if (lengths) lengths[0] = (uint32_t)n;
        return 1;
    }
    size_t n_ids = 0;
    for (size_t start = 0, end; start < n; start = end) {
        uint64_t node = start ? m->continuing : m->tokens.root;
        uint32_t found = LF_UNIT_NONE;
        if (start && !m->continues) return unknown(m, n, ids, lengths);
        end = start;
        for (size_t i = start; i < n && lf_unit_step(&m->tokens, &node, word[i]); i++)
            if (lf_unit_value(node) != LF_UNIT_NONE) found = lf_unit_value(node), end = i + 1;
        if (found == LF_UNIT_NONE) return unknown(m, n, ids, lengths);
        if (lengths) lengths[n_ids] = (uint32_t)(end - start);
        ids[n_ids++] = found;
    }
    return n_ids;
}
