/* added.c - finding added tokens; see added.h. */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>

#include "text/utf8.h"

lf_status lf_added_new(lf_added **added, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                       const uint8_t *flags, size_t n_tokens, size_t *where) {
    *added = NULL;
    *where = 0;
    lf_added *a = calloc(1, sizeof *a);
    if (!a) return LF_ENOMEM;
    a->n_tokens = n_tokens;
    a->ids = malloc((n_tokens + 1) * sizeof *a->ids);
    a->flags = malloc(n_tokens + 1);
    lf_status status = LF_ENOMEM;
    if (!a->ids || !a->flags || (status = lf_trie_new(&a->trie, (size_t)offsets[n_tokens])) != LF_OK)
        return lf_added_free(a), status;
    for (size_t t = 0; t < n_tokens; t++) {
        const uint8_t *token = blob + offsets[t];
        const size_t n = (size_t)(offsets[t + 1] - offsets[t]);
        const uint32_t node = lf_trie_insert(&a->trie, token, n);
        if (a->trie.values[node] != LF_TRIE_NONE) return *where = t, lf_added_free(a), LF_EVALUE;
        a->trie.values[node] = (uint32_t)t;
        a->ids[t] = ids[t];
        a->flags[t] = flags[t];
        a->n_plain += !(flags[t] & LF_ADDED_SPECIAL);
        a->first_byte[token[0]] = 1;
        if (n == 1) a->single_byte[token[0]] = 1;
        else a->first_two[token[0] << 5 | token[1] >> 3] |= (uint8_t)(1u << (token[1] & 7));
    }
    *added = a;
    return LF_OK;
}

void lf_added_free(lf_added *a) {
    if (!a) return;
    lf_trie_free(&a->trie);
    free(a->ids), free(a->flags);
    free(a);
}

static unsigned class_at(const lf_unicode *u, const uint8_t *text, size_t n, size_t at, size_t *stop) {
    uint32_t c;
    *stop = at + lf_utf8_read(text + at, text + n, &c);
    return c == LF_NO_CHARACTER ? 0 : lf_class_of(u, c);
}

static int alone(const lf_unicode *u, const uint8_t *text, size_t n, size_t start, size_t stop) {
    size_t end;
    if (start && class_at(u, text, n, lf_utf8_before(text, start), &end) & LF_WORD) return 0;
    return stop == n || !(class_at(u, text, n, stop, &end) & LF_WORD);
}

int lf_added_next(const lf_added *a, const lf_unicode *u, const uint8_t *text, size_t n, size_t from, size_t done,
                  const uint8_t *allowed, lf_added_match *match) {
    for (size_t at = from; at < n; at++) {
        const uint8_t first = text[at];
        if (LF_LIKELY(!a->first_byte[first])) continue;
        const int two = at + 1 < n && a->first_two[first << 5 | text[at + 1] >> 3] >> (text[at + 1] & 7) & 1;
        if (!two && !a->single_byte[first]) continue;
        uint32_t node = 0, token = LF_TRIE_NONE;
        size_t stop = at;
        for (size_t i = at; i < n && (node = lf_trie_child(&a->trie, node, text[i])); i++) {
            const uint32_t t = a->trie.values[node];
            if (t == LF_TRIE_NONE) continue;
            if (a->flags[t] & LF_ADDED_SPECIAL && !(allowed && allowed[t / 8] >> t % 8 & 1)) continue;
            token = t;
            stop = i + 1;
        }
        if (token == LF_TRIE_NONE) continue;
        if (a->flags[token] & LF_ADDED_SINGLE_WORD && !alone(u, text, n, at, stop)) {
            at = stop - 1;
            continue;
        }
        size_t start = at, end;
        match->resume = stop;
        if (a->flags[token] & LF_ADDED_LSTRIP) {
            while (start > done) {
                const size_t before = lf_utf8_before(text, start);
                if (!(class_at(u, text, n, before, &end) & LF_SPACE)) break;
                start = before;
            }
            if (start < done) start = done;
        }
        if (a->flags[token] & LF_ADDED_RSTRIP) {
            if (match->space_from <= stop && stop < match->space_to) {
                stop = match->space_to;
            } else {
                match->space_from = stop;
                while (stop < n && class_at(u, text, n, stop, &end) & LF_SPACE) stop = end;
                match->space_to = stop;
            }
        }
        if (start >= stop) { /* white space that the token before has taken whole */
            at = match->resume - 1;
            continue;
        }
        match->start = start;
        match->stop = stop;
        match->id = a->ids[token];
        return 1;
    }
    return 0;
}
