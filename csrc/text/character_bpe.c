/* character_bpe.c - see character_bpe.h. */
#include "text/character_bpe.h"

#include <stdlib.h>
#include <string.h>

#include "text/aligned.h"
#include "text/piece_kinds.h"
#include "text/steps.h"
#include "text/utf8.h"

#define NONE 0xFFFFFFFFu
static const uint8_t MARK[3] = {0xE2, 0x96, 0x81}; /* U+2581 */

/* Building. */

/* A merge of the list; `made` is the token that forms from it, NONE as long as none is known to. */
typedef struct {
    uint64_t pair; /* left (32) | right (32), plus 1; 0: free */
    uint32_t rank, made;
} listed;

typedef struct {
    const uint8_t *blob;
    const int64_t *offsets;
    uint32_t n_ids;
    listed *merges; /* by hash */
    unsigned bits;
    uint32_t *characters; /* by code point, the token that is this character */
    uint32_t *order;      /* tokens by their bytes, fewest first */
} builder;

/* The place of a pair, or the free one where it would be. */
static listed *place_of(const builder *b, uint32_t left, uint32_t right) {
    const uint64_t pair = ((uint64_t)left << 32 | right) + 1;
    const size_t mask = ((size_t)1 << b->bits) - 1;
    size_t at = (size_t)(pair * 0x9E3779B97F4A7C15u >> (64 - b->bits));
    while (b->merges[at].pair && b->merges[at].pair != pair) at = (at + 1) & mask;
    return &b->merges[at];
}

static const listed *merge_of(const builder *b, uint32_t left, uint32_t right) {
    const listed *place = place_of(b, left, right);
    return place->pair && place->made != NONE ? place : NULL;
}

static lf_status list_merges(builder *b, const uint32_t *merges, size_t n_merges) {
    b->bits = 8;
    while ((size_t)1 << b->bits < 2 * n_merges) b->bits++;
    b->merges = calloc((size_t)1 << b->bits, sizeof *b->merges);
    if (!b->merges) return LF_ENOMEM;
    for (size_t i = 0; i < n_merges; i++) {
        const uint32_t left = merges[2 * i], right = merges[2 * i + 1];
        *place_of(b, left, right) = (listed){((uint64_t)left << 32 | right) + 1, (uint32_t)i, NONE};
    }
    return LF_OK;
}

static size_t length(const builder *b, uint32_t id) { return (size_t)(b->offsets[id + 1] - b->offsets[id]); }

static lf_status note_characters(builder *b, double *scores, uint8_t *kinds) {
    b->characters = malloc(0x110000 * sizeof *b->characters);
    if (!b->characters) return LF_ENOMEM;
    memset(b->characters, 0xFF, 0x110000 * sizeof *b->characters);
    for (uint32_t id = 0; id < b->n_ids; id++) {
        const uint8_t *p = b->blob + b->offsets[id], *end = b->blob + b->offsets[id + 1];
        uint32_t cp;
        scores[id] = 0;
        kinds[id] = p < end ? LF_CONTROL : LF_NO_PIECE;
        if (p < end && p + lf_utf8_read(p, end, &cp) == end && cp != LF_NO_CHARACTER)
            b->characters[cp] = id, kinds[id] = LF_NORMAL;
    }
    return LF_OK;
}

/* Orders tokens by counting their bytes. */
static lf_status order_tokens(builder *b, size_t *where) {
    enum { MOST = 4 * LF_CHARACTER_BPE_LONGEST };
    size_t starts[MOST + 2] = {0};
    b->order = malloc((size_t)b->n_ids * sizeof *b->order + 1);
    if (!b->order) return LF_ENOMEM;
    for (uint32_t id = 0; id < b->n_ids; id++) {
        if (length(b, id) > MOST) return *where = id, LF_EVALUE;
        starts[length(b, id) + 1]++;
    }
    for (size_t n = 1; n <= MOST; n++) starts[n] += starts[n - 1];
    for (uint32_t id = 0; id < b->n_ids; id++) b->order[starts[length(b, id)]++] = id;
    return LF_OK;
}

/* The merge that a token forms from, NULL where it does not form. */
static listed *last_merge(const builder *b, uint32_t id) {
    enum { MOST = 4 * LF_CHARACTER_BPE_LONGEST };
    const uint8_t *p = b->blob + b->offsets[id], *end = b->blob + b->offsets[id + 1];
    uint32_t symbols[MOST], ranks[MOST];
    const listed *merge;
    size_t n = 0;
    for (uint32_t cp; p < end; n++) {
        p += lf_utf8_read(p, end, &cp);
        if (cp == LF_NO_CHARACTER || b->characters[cp] == NONE) return NULL;
        symbols[n] = b->characters[cp];
    }
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = (merge = merge_of(b, symbols[i], symbols[i + 1])) ? merge->rank : NONE;
    while (n > 2) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == NONE) return NULL;
        symbols[best] = merge_of(b, symbols[best], symbols[best + 1])->made;
        n--;
        memmove(symbols + best + 1, symbols + best + 2, (n - best - 1) * sizeof *symbols);
        memmove(ranks + best, ranks + best + 1, (n - best - 1) * sizeof *ranks);
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++)
            ranks[i] = (merge = merge_of(b, symbols[i], symbols[i + 1])) ? merge->rank : NONE;
    }
    if (n < 2) return NULL;
    listed *last = place_of(b, symbols[0], symbols[1]);
    return last->pair ? last : NULL;
}

static lf_status find_scores(builder *b, const uint32_t *merges, size_t n_merges, double *scores, uint8_t *kinds,
                             size_t *where) {
    lf_status status = list_merges(b, merges, n_merges);
    if (status == LF_OK) status = note_characters(b, scores, kinds);
    if (status == LF_OK) status = order_tokens(b, where);
    for (uint32_t i = 0; i < b->n_ids && status == LF_OK; i++) {
        const uint32_t id = b->order[i];
        listed *last = kinds[id] == LF_CONTROL ? last_merge(b, id) : NULL;
        if (!last) continue;
        last->made = id;
        scores[id] = -(double)last->rank;
        kinds[id] = LF_NORMAL;
    }
    return status;
}

static lf_status build(lf_character_bpe *c, const uint8_t *blob, const int64_t *offsets, uint32_t n_ids,
                       const uint32_t *merges, size_t n_merges, size_t *where) {
    enum { MERGES_MOST = 1 << 24 }; /* which float32 can count */
    *where = n_ids;
    if (n_merges > MERGES_MOST) return LF_EVALUE;
    c->scores = malloc((size_t)n_ids * sizeof *c->scores + 1);
    c->kinds = malloc((size_t)n_ids + 1);
    if (!c->scores || !c->kinds) return LF_ENOMEM;
    builder b = {.blob = blob, .offsets = offsets, .n_ids = n_ids};
    const lf_status status = find_scores(&b, merges, n_merges, c->scores, c->kinds, where);
    free(b.merges), free(b.characters), free(b.order);
    if (status != LF_OK) return status;
    const lf_sp_parts parts = {
        .blob = blob,
        .offsets = offsets,
        .scores = c->scores,
        .kinds = c->kinds,
        .n_ids = n_ids,
        .unknown_id = LF_SP_NO_ID,
        .byte_fallback = 1,
        .family = LF_SP_BPE,
        .rule = LF_RULE_SENTENCEPIECE,
        .options = {.add_dummy_prefix = 1, .escape_whitespaces = 1},
    };
    return lf_sp_new(&c->model, &parts, where);
}

lf_status lf_character_bpe_new(lf_character_bpe **out, const uint8_t *blob, const int64_t *offsets, uint32_t n_ids,
                               const uint32_t *merges, size_t n_merges, lf_prefix prefix, size_t *where) {
    *out = NULL;
    lf_character_bpe *c = calloc(1, sizeof *c);
    if (!c) return LF_ENOMEM;
    c->prefix = prefix;
    const lf_status status = build(c, blob, offsets, n_ids, merges, n_merges, where);
    if (status != LF_OK) return lf_character_bpe_free(c), status;
    *out = c;
    return LF_OK;
}

void lf_character_bpe_free(lf_character_bpe *c) {
    if (!c) return;
    lf_sp_free(c->model);
    free(c->scores), free(c->kinds);
    free(c);
}

/* Encoding. */

struct lf_character_workspace {
    const lf_character_bpe *bpe;
    lf_sp_workspace *model;
    lf_aligned texts[2]; /* with places */
};

static int is_prefixed(const lf_character_bpe *c, const uint8_t *text, size_t n, int first) {
    switch (c->prefix) {
    case LF_PREFIX_ALWAYS: return 1;
    case LF_PREFIX_FIRST:
        if (!first) return 0; /* fall through */
    case LF_PREFIX_UNLESS_THERE: return n && text[0] != ' ' && (n < 3 || memcmp(text, MARK, sizeof MARK));
    default: return 0;
    }
}

/* The text as the model sees it, to w->texts[0]. */
static lf_status normalize(lf_character_workspace *w, const uint8_t *text, size_t n, int prefixed) {
    static const lf_step MARKS = {
        .kind = LF_STEP_REPLACE, .from = (const uint8_t *)" ", .n_from = 1, .to = MARK, .n_to = sizeof MARK};
    static const lf_step PREFIX = {.kind = LF_STEP_PREPEND, .to = MARK, .n_to = sizeof MARK};
    lf_changes unused = {0};
    w->texts[0].traced = w->texts[1].traced = 1;
    lf_status status = lf_aligned_begin(&w->texts[0], text, n);
    if (status == LF_OK) status = lf_step_apply(&MARKS, &w->texts[0], &w->texts[1], &unused);
    if (status != LF_OK || prefixed)
        return status == LF_OK ? lf_step_apply(&PREFIX, &w->texts[1], &w->texts[0], &unused) : status;
    const lf_aligned swapped = w->texts[0];
    w->texts[0] = w->texts[1], w->texts[1] = swapped;
    return LF_OK;
}

static lf_status encode_traced(lf_character_workspace *w, const uint8_t *text, size_t n, int prefixed, uint32_t *ids,
                               int64_t *spans, size_t *n_ids) {
    lf_status status = normalize(w, text, n, prefixed);
    if (status == LF_OK) status = lf_sp_encode_traced(w->model, w->texts[0].bytes, w->texts[0].n, 0, ids, spans, n_ids);
    const lf_place *places = w->texts[0].places;
    for (size_t i = 0; i < *n_ids && status == LF_OK; i++) {
        const int64_t begin = spans[2 * i], end = spans[2 * i + 1];
        spans[2 * i] = places[begin].begin;
        spans[2 * i + 1] = places[end > begin ? end - 1 : begin].end; /* of a byte: its character's */
    }
    return status;
}

lf_status lf_character_bpe_encode(lf_character_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                                  int64_t *spans, size_t *n_ids) {
    const int prefixed = is_prefixed(w->bpe, text, n, first);
    *n_ids = 0;
    if (n > LF_SP_MOST) return LF_EVALUE;
    if (!spans) return lf_sp_encode(w->model, text, n, prefixed, ids, n_ids);
    const lf_status status = encode_traced(w, text, n, prefixed, ids, spans, n_ids);
    lf_aligned_free(&w->texts[0]), lf_aligned_free(&w->texts[1]);
    return status;
}

lf_status lf_character_workspace_new(lf_character_workspace **out, const lf_character_bpe *bpe, size_t cache_bytes) {
    *out = NULL;
    lf_character_workspace *w = calloc(1, sizeof *w);
    if (!w) return LF_ENOMEM;
    w->bpe = bpe;
    if (lf_sp_workspace_new(&w->model, bpe->model, cache_bytes) != LF_OK)
        return lf_character_workspace_free(w), LF_ENOMEM;
    *out = w;
    return LF_OK;
}

void lf_character_workspace_free(lf_character_workspace *w) {
    if (!w) return;
    lf_sp_workspace_free(w->model);
    lf_aligned_free(&w->texts[0]), lf_aligned_free(&w->texts[1]);
    free(w);
}
