/* unigram_train_trie.c - the edges of fast training.
 *
 * Words that begin alike are neighbours, and what they have in common is there once: a word has nodes for the symbols
 * behind those that it shares with the word before. A node's edges are the pieces that end there, the longest first and
 * the single symbol last, which stays a piece for ever and is the end of the list:
 *
 *     words    |  _   t      h          e               | (_ t)  o            shared = 2
 *     edges    |  _ | _t t | _th th h | _the the he e   | _to to o
 *
 * They come from chains: `deepest` says for a slot what the longest piece is that begins there, `parent` for a piece the
 * next shorter one. Each part of the words has edges of its own, and shares no nodes with the part before.
 *
 * What pays (39 MB of English, two cores): of 4.5 M symbols in different words 1.8 M are nodes, so a pass has 0.4 of the
 * edges that slots have, in time and in memory. A sum over the edges that end in a node stays in a register; the sum to
 * where an edge ends, which the edges of a slot need, goes through memory. Chains take 4 bytes a slot where edges before
 * them took 4 a piece that begins there. What does not: a smaller pool of seeds by `seed_size`, which loses likelihood. */
#include "text/unigram_train_state.h"

typedef struct {
    uint32_t end, edge;
} incoming;

/* Room for n more edges. */
static int reserve(lf_word_part *part, size_t n) {
    return lf_grow(&part->edges, &part->room, (part->n_edges + n) * sizeof *part->edges);
}

lf_status lf_unigram_fast_fill(lf_unigram_trainer *t, size_t part_) {
    lf_word_part *part = &t->word_parts[part_];
    size_t longest = 0, room = 0;
    for (uint32_t i = part->first_word; i < part->end_word; i++)
        if (t->word_at[i + 1] - t->word_at[i] > longest) longest = t->word_at[i + 1] - t->word_at[i];
    size_t *at = malloc((longest + 1) * sizeof *at); /* where the edges of a node go */
    incoming *found = NULL;
    lf_status status = at ? LF_OK : LF_ENOMEM;
    for (uint32_t i = part->first_word; i < part->end_word && status == LF_OK; i++) {
        const uint32_t slot = t->word_at[i], n = t->word_at[i + 1] - 1 - slot, shared = t->shared[i];
        size_t n_found = 0;
        for (uint32_t k = shared; k <= n; k++) at[k] = 0;
        for (uint32_t k = 0; k < n; k++) {
            if (!lf_grow(&found, &room, (n_found + t->rules.max_length + 1) * sizeof *found)) {
                status = LF_ENOMEM;
                break;
            }
            uint32_t piece = t->deepest[slot + k];
            for (; piece != LF_GONE && k + t->piece_length[piece] > shared; piece = t->parent[piece]) {
                const uint32_t end = k + t->piece_length[piece];
                at[end]++;
                found[n_found++] = (incoming){end, piece << LF_EDGE_PIECE | t->piece_length[piece]};
            }
            if (k < shared) continue;
            at[k + 1]++;
            found[n_found++] = (incoming){k + 1, t->letter_of[t->text[slot + k]] << LF_EDGE_PIECE | 1};
        }
        if (status != LF_OK || !reserve(part, n_found)) status = LF_ENOMEM;
        if (status != LF_OK) break;
        size_t next = part->n_edges;
        for (uint32_t k = shared + 1; k <= n; k++) {
            const size_t here = at[k];
            at[k] = next;
            next += here;
        }
        for (size_t k = 0; k < n_found; k++) part->edges[at[found[k].end]++] = found[k].edge;
        part->n_edges = next;
    }
    free(at), free(found);
    return status;
}

/* Takes the edges of dropped pieces out, in place. */
void lf_unigram_fast_compact(lf_unigram_trainer *t, size_t part_) {
    lf_word_part *part = &t->word_parts[part_];
    const uint32_t *remap = t->remap;
    size_t to = 0;
    for (size_t k = 0; k < part->n_edges; k++) {
        const uint32_t edge = part->edges[k], piece = remap[edge >> LF_EDGE_PIECE];
        part->edges[to] = piece << LF_EDGE_PIECE | (edge & LF_EDGE_LENGTH);
        to += piece != LF_GONE;
    }
    part->n_edges = to;
    const size_t room = (to + 1) * sizeof *part->edges;
    if (room > part->room / 2) return;
    uint32_t *edges = realloc(part->edges, room);
    if (!edges) return;
    part->edges = edges;
    part->room = room;
}
