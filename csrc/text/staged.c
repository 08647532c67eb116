/* staged.c - see staged.h. */
#include "text/staged.h"

#include <stdlib.h>
#include <string.h>

#include "text/normalize.h"
#include "text/pages.h"

enum { KEPT_MOST = 1 << 22 }; /* bytes that a buffer keeps between texts */

struct lf_text_workspace {
    const lf_text *text;
    const lf_text_ops *ops;   /* of the instruction set */
    lf_text_workspace *inner; /* theirs */
    lf_stack_workspace *stages;
    lf_stack_words words;
    uint8_t *normalized;
    uint32_t *counted; /* ids that are only counted */
    size_t n_normalized, n_counted;
    uint32_t *out;
    size_t n_out;
    lf_status status;
};

/* The ids of w->words. */
static lf_status take(void *workspace) {
    lf_text_workspace *w = workspace;
    lf_status status = LF_OK;
    size_t n_ids = 0;
    uint32_t *ids = w->out ? w->out + w->n_out : NULL;
    if (!ids) ids = w->counted = lf_grown(w->counted, &w->n_counted, (w->words.n + 8) * sizeof *ids, &status);
    if (status == LF_OK)
        status = w->ops->encode_pieces(w->inner, w->words.bytes, w->words.ends, w->words.n_words, ids, &n_ids);
    w->n_out += n_ids;
    return status;
}

/* Plain text: no added token in it, already normalized. */
static void plain(lf_text_workspace *w, const uint8_t *text, size_t n) {
    const lf_status status = lf_stack_split(w->stages, text, n, &w->words);
    w->status = status == LF_EVALUE ? LF_EINDEX : status;
}

static void after_raw(lf_text_workspace *w, const uint8_t *text, size_t n, lf_allowed allowed);

/* What lies between added tokens, raw ones or normalized ones, and their ids. */
static void around_added(lf_text_workspace *w, int is_raw, const uint8_t *text, size_t n, lf_allowed allowed) {
    const lf_added *added = is_raw ? w->text->added_raw : w->text->added_normalized;
    const uint8_t *bits = is_raw ? allowed.raw : allowed.normalized;
    lf_added_match match = {0};
    for (size_t done = 0; w->status == LF_OK && done <= n; done = match.stop) {
        const int found = added && (bits || added->n_plain) &&
                          lf_added_next(added, w->text->unicode, text, n, match.resume, done, bits, &match);
        const size_t stop = found ? match.start : n;
        if (stop > done && is_raw) after_raw(w, text + done, stop - done, allowed);
        else if (stop > done) plain(w, text + done, stop - done);
        if (!found) return;
        if (w->status == LF_OK && w->out) w->out[w->n_out] = match.id;
        w->n_out++;
    }
}

static void after_raw(lf_text_workspace *w, const uint8_t *text, size_t n, lf_allowed allowed) {
    if (w->text->nfc && lf_nfc_prefix(text, n) < n) {
        w->normalized = lf_grown(w->normalized, &w->n_normalized, lf_nfc_bound(n), &w->status);
        if (!w->normalized) return;
        n = lf_nfc(text, n, w->normalized);
        text = w->normalized;
    }
    around_added(w, 0, text, n, allowed);
}

static void begin(lf_text_workspace *w, uint32_t *ids) {
    w->out = ids;
    w->n_out = 0;
    w->status = LF_OK;
}

static void add(lf_text_workspace *w, const uint8_t *document, size_t n, lf_allowed allowed, int64_t *count) {
    const size_t before = w->n_out;
    around_added(w, 1, document, n, allowed);
    *count = (int64_t)(w->n_out - before);
}

static lf_status end(lf_text_workspace *w, size_t *n_ids) {
    if (w->words.room > KEPT_MOST || w->words.ends_room > KEPT_MOST) lf_stack_words_free(&w->words);
    if (w->n_normalized > KEPT_MOST) free(w->normalized), w->normalized = NULL, w->n_normalized = 0;
    if (w->n_counted > KEPT_MOST) free(w->counted), w->counted = NULL, w->n_counted = 0;
    *n_ids = w->n_out;
    return w->status;
}

static lf_status encode_pieces(lf_text_workspace *w, const uint8_t *bytes, const int64_t *ends, size_t n_pieces,
                               uint32_t *ids, size_t *n_ids) {
    return w->ops->encode_pieces(w->inner, bytes, ends, n_pieces, ids, n_ids);
}

static void workspace_free(lf_text_workspace *w) {
    if (!w) return;
    w->ops->workspace_free(w->inner);
    lf_stack_workspace_free(w->stages);
    lf_stack_words_free(&w->words);
    free(w->normalized), free(w->counted);
    free(w);
}

/* One around a workspace with tables of its own, or with those of the owner's. */
static lf_status workspace_around(lf_text_workspace **workspace, const lf_text_ops *ops, const lf_text *text,
                                  const lf_text_workspace *owner, size_t cache_bytes) {
    *workspace = NULL;
    lf_text_workspace *w = calloc(1, sizeof *w);
    if (!w) return LF_ENOMEM;
    w->text = text, w->ops = ops;
    w->words.take = take, w->words.taker = w;
    const lf_status status = lf_stack_workspace_new(&w->stages, text->stages, 0);
    if (status != LF_OK || (owner ? ops->workspace_join(&w->inner, owner->inner)
                                  : ops->workspace_new(&w->inner, text, cache_bytes)) != LF_OK)
        return workspace_free(w), LF_ENOMEM;
    *workspace = w;
    return LF_OK;
}

static lf_status workspace_join(lf_text_workspace **w, const lf_text_workspace *owner) {
    return workspace_around(w, owner->ops, owner->text, owner, 0);
}

static void workspace_prepare(lf_text_workspace *w) { w->ops->workspace_prepare(w->inner); }
static void workspace_enter(lf_text_workspace *w) { w->ops->workspace_enter(w->inner); }
static void workspace_pause(lf_text_workspace *w) { w->ops->workspace_pause(w->inner); }
static void workspace_leave(lf_text_workspace *w) { w->ops->workspace_leave(w->inner); }

#define FOR(ISA)                                                                                                       \
    static lf_status workspace_new_##ISA(lf_text_workspace **w, const lf_text *text, size_t cache_bytes) {             \
        return workspace_around(w, lf_text_ops_for(ISA), text, NULL, cache_bytes);                                     \
    }                                                                                                                  \
    static const lf_text_ops staged_##ISA = {ISA,                                                                      \
                                             workspace_new_##ISA,                                                      \
                                             workspace_join,                                                           \
                                             workspace_prepare,                                                        \
                                             workspace_free,                                                           \
                                             workspace_enter,                                                          \
                                             workspace_pause,                                                          \
                                             workspace_leave,                                                          \
                                             begin,                                                                    \
                                             add,                                                                      \
                                             end,                                                                      \
                                             encode_pieces};

FOR(LF_GENERIC)
FOR(LF_AVX2)
FOR(LF_AVX512)

const lf_text_ops *lf_staged_ops_for(lf_isa isa) {
    static const lf_text_ops *const ops[] = {&staged_LF_GENERIC, &staged_LF_AVX2, &staged_LF_AVX512};
    return lf_text_ops_for(isa) ? ops[isa] : NULL;
}
