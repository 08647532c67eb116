/* encode.h - text to ids: splitting, the piece cache and merging, over whole documents.
 *
 * A text is cut into pieces in batches. Each piece becomes a key - its bytes and its length in one vector register -
 * and its line of the cache is prefetched; when the batch is keyed, the lines are probed in order. Nearly every piece
 * is found: one compare, one store of up to seven ids, and the next piece. The others take the slow path: look
 * further, cut where no merge can cross, merge, remember.
 *
 *     a line of the first table, 64 bytes, for pieces of 1..15 bytes: their ids packed into 124 bits, or where in the ring
 *     | bytes of piece 0 ........ length | bytes of piece 1 ........ length | id id id id id n | at .... n . 15 |
 *     0                                 16                                 32                 48                64
 *
 *     a line of the second table, for pieces of 16..31 bytes: up to 7 ids, or likewise
 *     | first 16 bytes of the piece ... | last 16 bytes .................. | id id id id id id id | n, length |
 *     0                                16                                 32                      60         64
 *
 *     the ring: ids of those that have more, and records of longer pieces; the oldest overwritten first
 *
 * A line's place is the hash of the key; a key may also stand in the lines that follow (PROBES in all). Where all of
 * them are full, a key that comes twice takes the place of an old one, so the tables never grow. README.md tells the
 * whole story.
 *
 * Exactness: the ids of split.h, bpe.h and added.h. Memory: the workspace's tables and the caller's ids, nothing that
 * grows with the number of distinct pieces. Threads: a workspace belongs to one thread at a time, all else is shared, the
 * tables too where threads work on one batch (piece_tables.h says how). */
#ifndef LF_TEXT_ENCODE_H
#define LF_TEXT_ENCODE_H

#include "lf.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/split.h"

/* A compiled tokenizer: read-only, owns nothing. */
typedef struct {
    const lf_bpe *model;
    const lf_unicode *unicode;
    const lf_added *added_raw;        /* looked for in the text as given; NULL if there are none */
    const lf_added *added_normalized; /* looked for after normalization; NULL if there are none  */
    lf_split split;
    int nfc;                       /* normalize to NFC                                        */
    const struct lf_stack *stages; /* cut the pieces in place of `split`: staged.h; NULL if there are none */
    unsigned doublings;            /* stages that may make a text twice as long */
} lf_text;

/* Which special tokens a call recognises; a set bit for each token number of lf_added. */
typedef struct {
    const uint8_t *raw, *normalized;
} lf_allowed;

typedef struct lf_text_workspace lf_text_workspace;

typedef struct {
    lf_isa isa;
    /* A workspace for one tokenizer, with tables of `cache_bytes` bytes. */
    lf_status (*workspace_new)(lf_text_workspace **w, const lf_text *text, size_t cache_bytes);
    /* One with the tables of another, of no use without it. */
    lf_status (*workspace_join)(lf_text_workspace **w, const lf_text_workspace *owner);
    /* Puts into new tables what can be known before any text: quick where that has been done. */
    void (*workspace_prepare)(lf_text_workspace *w);
    void (*workspace_free)(lf_text_workspace *w);
    /* Threads whose workspaces have the same tables enter before they use them side by side, pause between two texts and
     * leave in the end; one at a time calls these. While nobody has entered, one of the workspaces may be used. */
    void (*workspace_enter)(lf_text_workspace *w);
    void (*workspace_pause)(lf_text_workspace *w);
    void (*workspace_leave)(lf_text_workspace *w);
    /* The ids of documents, one after another. `ids` has room for lf_text_bound(text, n) of all, or is NULL: only their
     * number is wanted. A document need not outlive the call that adds it; how many ids it has is known at the end. */
    void (*begin)(lf_text_workspace *w, uint32_t *ids);
    void (*add)(lf_text_workspace *w, const uint8_t *document, size_t n, lf_allowed allowed, int64_t *count);
    lf_status (*end)(lf_text_workspace *w, size_t *n_ids);
    /* The ids of pieces given by their ends, which rise to n: for split patterns that have no automaton. */
    lf_status (*encode_pieces)(lf_text_workspace *w, const uint8_t *bytes, const int64_t *ends, size_t n_pieces,
                               uint32_t *ids, size_t *n_ids);
} lf_text_ops;

/* The functions for an instruction set, NULL where this build has none. */
const lf_text_ops *lf_text_ops_for(lf_isa isa);

/* The ids of one document, in the same way. */
static inline lf_status lf_text_encode(const lf_text_ops *ops, lf_text_workspace *w, const uint8_t *document, size_t n,
                                       lf_allowed allowed, uint32_t *ids, size_t *n_ids) {
    int64_t count;
    ops->begin(w, ids);
    ops->add(w, document, n, allowed, &count);
    return ops->end(w, n_ids);
}

/* Room for the ids of n bytes: stores are 16 bytes wide, so a few more than there can be. */
static inline size_t lf_text_bound(const lf_text *text, size_t n) {
    return ((text->nfc ? 3 * n : n) << text->doublings) + 8; /* NFC makes UTF-8 at most three times as long */
}

#endif
