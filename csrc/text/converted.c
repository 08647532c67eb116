/* converted.c - see converted.h. */
#define _GNU_SOURCE /* madvise and MAP_ANONYMOUS */
#include "text/converted.h"

#include "text/piece_kinds.h"
#include "text/utf8.h"
#include "text/word_cache.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { BATCH = 256, KEPT_MOST = 1 << 22 }; /* words keyed before the first is looked up; bytes kept between calls */

/* Building. */

static void note_known(lf_converted *c) {
    const lf_sp_parts *parts = &c->model->parts;
    for (uint32_t id = 0; id < parts->n_ids; id++) {
        const uint8_t *p = parts->blob + parts->offsets[id], *end = parts->blob + parts->offsets[id + 1];
        if (parts->kinds[id] == LF_NO_PIECE) continue;
        while (p < end) {
            uint32_t cp;
            p += lf_utf8_read(p, end, &cp);
            if (cp < 0x10000) c->known[cp / 8] |= (uint8_t)(1 << cp % 8);
        }
    }
}

/* Every id stands for a character at least, or for a byte where unknown ones become bytes. */
static void find_growth(lf_converted *c) {
    size_t growth = 1, added = 1;
    for (size_t i = 0; i < c->n_steps; i++) {
        const size_t by = lf_step_growth(&c->steps[i], i == 0);
        growth *= by;
        added = added * by + lf_step_added(&c->steps[i]);
    }
    const size_t bytes = c->model->parts.byte_fallback ? 4 : 1;
    c->growth = growth * bytes;
    c->added = (added + 2) * bytes + 8;
}

static lf_status build(lf_converted *c, const lf_sp_parts *parts, const lf_step *steps, size_t n_steps,
                       size_t *where) {
    if (n_steps > LF_CONVERTED_STEPS) return *where = LF_SP_NO_ID - 2, LF_EVALUE;
    for (size_t i = 0; i < n_steps; i++) {
        c->steps[i] = steps[i];
        const lf_status status = lf_step_init(&c->steps[i]);
        c->n_steps++;
        if (status != LF_OK) return *where = LF_SP_NO_ID - 2, status;
    }
    const lf_status status = lf_sp_new(&c->model, parts, where);
    if (status != LF_OK) return status;
    note_known(c);
    find_growth(c);
    return LF_OK;
}

lf_status lf_converted_new(lf_converted **out, const lf_sp_parts *parts, const lf_metaspace *metaspace,
                           const lf_step *steps, size_t n_steps, size_t *where) {
    *out = NULL;
    lf_converted *c = calloc(1, sizeof *c);
    if (!c) return LF_ENOMEM;
    c->metaspace = *metaspace;
    const lf_status status = build(c, parts, steps, n_steps, where);
    if (status != LF_OK) return lf_converted_free(c), status;
    *out = c;
    return LF_OK;
}

void lf_converted_free(lf_converted *c) {
    if (!c) return;
    for (size_t i = 0; i < c->n_steps; i++) lf_step_free(&c->steps[i]);
    lf_sp_free(c->model);
    free(c);
}

struct lf_converted_workspace {
    const lf_converted *c;
    word_cache words;
    lf_status status; /* set where memory ran out or a character has no id */
    lf_aligned texts[2], marked, word;
    lf_changes changes;
    lf_unigram_node *nodes;
    size_t n_nodes; /* bytes */
    word_key keys[BATCH];
    uint64_t hashes[BATCH];
    uint32_t bounds[BATCH + 66];
};

/* Where ids go. */
typedef struct {
    uint32_t *ids;
    int64_t *spans; /* NULL: nobody asks */
    size_t n;
} sink;

/* A word to ids. */

/* The id of w->word's bytes [begin, end). */
static inline void give(const lf_converted_workspace *w, sink *s, uint32_t id, size_t begin, size_t end) {
    if (s->spans) {
        s->spans[2 * s->n] = w->word.places[begin].begin;
        s->spans[2 * s->n + 1] = w->word.places[end - 1].end;
    }
    s->ids[s->n++] = id;
}

/* A run of unknown characters is one token, which may be in the vocabulary, or be its bytes. */
static void give_run(lf_converted_workspace *w, sink *s, size_t begin, size_t end) {
    const lf_sp *m = w->c->model;
    const uint8_t *text = w->word.bytes;
    const uint32_t whole = lf_double_array_find(&m->unigram.pieces, text + begin, end - begin);
    if (whole != LF_UNIT_NONE) return give(w, s, whole, begin, end);
    size_t known = begin;
    while (m->parts.byte_fallback && known < end && m->bytes[text[known]] != LF_SP_NO_ID) known++;
    if (known == end)
        for (size_t i = begin; i < end; i++) give(w, s, m->bytes[text[i]], begin, end);
    else if (m->parts.unknown_id == LF_SP_NO_ID) w->status = LF_EVALUE;
    else give(w, s, m->parts.unknown_id, begin, end);
}

static int nodes_for(lf_converted_workspace *w, size_t n) {
    const size_t bytes = (n + 1) * sizeof *w->nodes;
    if (bytes <= w->n_nodes) return 1;
    free(w->nodes);
    w->nodes = malloc(bytes + bytes / 4);
    w->n_nodes = w->nodes ? bytes + bytes / 4 : 0;
    if (!w->nodes) w->status = LF_ENOMEM;
    return w->nodes != NULL;
}

/* Where the characters that some piece has (or not, `known` says which) end that begin at `at`. */
static size_t run_end(const lf_converted *c, const uint8_t *text, size_t n, size_t at, int known, size_t *n_characters) {
    for (*n_characters = 0; at < n; ++*n_characters) {
        uint32_t cp;
        const unsigned width = lf_utf8_read(text + at, text + n, &cp);
        if ((cp >= 0x10000 || c->known[cp / 8] >> cp % 8 & 1) != known) break;
        at += width;
    }
    return at;
}

/* The ids of w->word. */
static void best_path(lf_converted_workspace *w, sink *s) {
    const lf_unigram *unigram = &w->c->model->unigram;
    const uint8_t *text = w->word.bytes;
    const size_t n = w->word.n, none = SIZE_MAX;
    const uint32_t unknown_id = w->c->model->parts.unknown_id;
    size_t unknown = none; /* where a run of unknown characters began */
    double sum = 0;
    for (size_t at = 0, end, k; at < n; at = end) {
        end = run_end(w->c, text, n, at, 0, &k);
        if (end > at && unknown == none) unknown = at;
        for (; k; k--) sum += unigram->unknown;
        at = end;
        end = run_end(w->c, text, n, at, 1, &k);
        if (end == at || !nodes_for(w, end - at)) continue;
        sum = lf_unigram_best(unigram, text + at, end - at, sum, w->nodes);
        for (size_t i = at; i < end; i += w->nodes[i - at].length) {
            const lf_unigram_node *node = &w->nodes[i - at];
            if (node->id == LF_PIECE_UNKNOWN || node->id == unknown_id) {
                if (unknown == none) unknown = i;
                continue;
            }
            if (unknown != none) give_run(w, s, unknown, i);
            unknown = none;
            give(w, s, node->id, i, i + node->length);
        }
    }
    if (unknown != none) give_run(w, s, unknown, n);
}

/* Makes w->word of bytes [begin, end) of w->marked, with marks for spaces. */
static int spell(lf_converted_workspace *w, size_t begin, size_t end) {
    const lf_metaspace *m = &w->c->metaspace;
    w->word.n = 0;
    while (begin < end) {
        if (!lf_aligned_reserve(&w->word, m->n_mark + end - begin)) return w->status = LF_ENOMEM, 0;
        if (w->marked.bytes[begin] == ' ')
            lf_aligned_put(&w->word, m->mark, m->n_mark, lf_aligned_place(&w->marked, begin)), begin++;
        const uint8_t *space = memchr(w->marked.bytes + begin, ' ', end - begin);
        const size_t stop = space ? (size_t)(space - w->marked.bytes) : end;
        lf_aligned_copy(&w->word, &w->marked, begin, stop);
        begin = stop;
    }
    return 1;
}

static void compute(lf_converted_workspace *w, size_t begin, size_t end, sink *s) {
    const size_t n = end - begin, n_before = s->n;
    if (!spell(w, begin, end)) return;
    best_path(w, s);
    if (n > WORD_MOST || s->spans || w->status != LF_OK) return;
    words_put(&w->words, w->marked.bytes + begin, n, w->marked.bytes + w->marked.n + LF_ALIGNED_PAD,
              s->ids + n_before, s->n - n_before, 0);
}

/* The ids of a word that one look does not find. */
static void look_up(lf_converted_workspace *w, size_t begin, size_t end, sink *s) {
    if (end - begin > WORD_MOST) return compute(w, begin, end, s);
    const word_found found = words_find(&w->words, w->marked.bytes + begin, end - begin,
                                        w->marked.bytes + w->marked.n + LF_ALIGNED_PAD);
    if (!found.ids) return compute(w, begin, end, s);
    memcpy(s->ids + s->n, found.ids, found.n_ids * sizeof *s->ids);
    s->n += found.n_ids;
}

static void look_up_all(lf_converted_workspace *w, const uint32_t *bounds, size_t n_words, sink *s) {
    const uint8_t *text = w->marked.bytes, *end = text + w->marked.n + LF_ALIGNED_PAD;
    for (size_t i = 0; i < n_words; i++) {
        const size_t n = bounds[i + 1] - bounds[i];
        if (LF_UNLIKELY(n > WORD_SHORT)) {
            w->keys[i] = (word_key){~(uint64_t)0, ~(uint64_t)0}; /* no word's */
            w->hashes[i] = 0;
            words_prefetch(&w->words, text + bounds[i], n, end);
            continue;
        }
        w->keys[i] = word_key_of(text + bounds[i], n, end);
        w->hashes[i] = word_hash(w->keys[i]);
        __builtin_prefetch(&w->words.lines[w->hashes[i] & w->words.line_mask]);
    }
    for (size_t i = 0; i < n_words && w->status == LF_OK; i++) {
        const word_ids *found = words_probe(&w->words, w->keys[i], w->hashes[i]);
        if (LF_LIKELY(found && (*found)[3] >> 28 <= WORD_IDS)) {
            memcpy(s->ids + s->n, found, sizeof *found);
            s->n += (*found)[3] >> 28;
        } else look_up(w, bounds[i], bounds[i + 1], s);
    }
}

/* A text to words. */

/* Bits where words begin in 64 bytes: at spaces, and where words are split at the mark's characters too. */
static inline uint64_t begins_of(const lf_metaspace *m, const uint8_t *p) {
    uint64_t spaces = 0, marks = 0;
#if defined(__SSE2__)
    for (unsigned i = 0; i < 4; i++) {
        const __m128i v = _mm_loadu_si128((const void *)(p + 16 * i));
        const __m128i space = _mm_cmpeq_epi8(v, _mm_set1_epi8(' ')), mark = _mm_cmpeq_epi8(v, _mm_set1_epi8((char)m->mark[0]));
        spaces |= (uint64_t)(uint32_t)_mm_movemask_epi8(space) << 16 * i;
        marks |= (uint64_t)(uint32_t)_mm_movemask_epi8(mark) << 16 * i;
    }
#else
    for (unsigned i = 0; i < 64; i++) {
        spaces |= (uint64_t)(p[i] == ' ') << i;
        marks |= (uint64_t)(p[i] == m->mark[0]) << i;
    }
#endif
    if (!m->split) return spaces;
    for (uint64_t left = marks; left; left &= left - 1) {
        const unsigned at = (unsigned)__builtin_ctzll(left);
        if (memcmp(p + at, m->mark, m->n_mark)) marks &= ~((uint64_t)1 << at);
    }
    return spaces | marks;
}

static void encode_words(lf_converted_workspace *w, sink *s) {
    const lf_metaspace *m = &w->c->metaspace;
    const uint8_t *text = w->marked.bytes;
    const size_t n = w->marked.n;
    size_t n_words = 0;
    if (!n) return;
    w->bounds[0] = 0;
    if (m->split || m->by_white_space) {
        for (size_t at = 0; at < n && w->status == LF_OK; at += 64) {
            uint64_t begins = begins_of(m, text + at);
            if (at == 0) begins &= ~(uint64_t)1;
            if (n - at < 64) begins &= ((uint64_t)1 << (n - at)) - 1;
            for (; begins; begins &= begins - 1) w->bounds[++n_words] = (uint32_t)(at + (unsigned)__builtin_ctzll(begins));
            if (n_words < BATCH - 64) continue;
            look_up_all(w, w->bounds, n_words, s);
            w->bounds[0] = w->bounds[n_words], n_words = 0;
        }
    }
    w->bounds[++n_words] = (uint32_t)n;
    look_up_all(w, w->bounds, n_words, s);
}

static void trace_words(lf_converted_workspace *w, sink *s) {
    const lf_metaspace *m = &w->c->metaspace;
    const size_t n = w->marked.n;
    for (size_t at = 0, end; at < n && w->status == LF_OK; at = end) {
        for (end = at + 1; end < n; end++) {
            const uint8_t *p = w->marked.bytes + end;
            if (*p == ' ' && (m->split || m->by_white_space)) break;
            if (m->split && n - end >= m->n_mark && !memcmp(p, m->mark, m->n_mark)) break;
        }
        compute(w, at, end, s);
    }
}

static int has_mark(const lf_metaspace *m, const lf_aligned *text, size_t at, size_t end) {
    return text->bytes[at] == ' ' || (end - at >= m->n_mark && !memcmp(text->bytes + at, m->mark, m->n_mark));
}

/* The text with a space before it where there has to be a mark, to w->marked. */
static void mark_text(lf_converted_workspace *w, const lf_aligned *text, int first) {
    const lf_metaspace *m = &w->c->metaspace;
    const int prepends = m->prepend == LF_PREPEND_ALWAYS || (m->prepend == LF_PREPEND_FIRST && first);
    if (prepends && text->n && !has_mark(m, text, 0, text->n))
        lf_aligned_put(&w->marked, (const uint8_t *)" ", 1, lf_aligned_place(text, 0));
    lf_aligned_copy(&w->marked, text, 0, text->n);
}

static size_t white_space(const lf_aligned *text, size_t at) {
    uint32_t cp;
    const unsigned width = lf_utf8_read(text->bytes + at, text->bytes + text->n, &cp);
    return lf_is_space(cp) ? width : 0;
}

/* What lies between white space, each with a space before it, be it for its own mark, to w->marked. */
static void mark_parts(lf_converted_workspace *w, const lf_aligned *text) {
    const lf_metaspace *m = &w->c->metaspace;
    for (size_t at = 0, begin, width; at < text->n;) {
        while (at < text->n && (width = white_space(text, at))) at += width;
        for (begin = at; at < text->n && !white_space(text, at); at++) continue;
        if (begin == at) break;
        lf_aligned_put(&w->marked, (const uint8_t *)" ", 1, lf_aligned_place(text, begin));
        if (has_mark(m, text, begin, at)) begin += m->n_mark;
        lf_aligned_copy(&w->marked, text, begin, at);
    }
}

/* A text. */

static lf_status normalize(lf_converted_workspace *w, const uint8_t *text, size_t n, int traced, const lf_aligned **out) {
    static uint8_t nothing[1];
    lf_aligned input = {(uint8_t *)(uintptr_t)(n ? text : nothing), NULL, n, n, 0, 0}; /* is only read */
    const lf_aligned *now = &input;
    lf_status status = LF_OK;
    w->texts[0].traced = w->texts[1].traced = w->marked.traced = w->word.traced = traced;
    size_t next = 0, first_step = w->c->n_steps ? (size_t)w->c->steps[0].kind : LF_N_STEPS;
    if (!traced && first_step == LF_STEP_PRECOMPILED)
        status = lf_step_apply(&w->c->steps[0], now, &w->texts[0], &w->changes);
    if (traced || first_step != LF_STEP_PRECOMPILED || status == LF_EVALUE) {
        status = lf_aligned_begin(&w->texts[1], text, n);
        now = &w->texts[1];
        if (status == LF_OK && w->c->n_steps)
            status = lf_step_apply(&w->c->steps[0], now, &w->texts[0], &w->changes);
    }
    if (w->c->n_steps) now = &w->texts[0], next = 1;
    for (size_t i = 1; i < w->c->n_steps && status == LF_OK; i++, next ^= 1) {
        status = lf_step_apply(&w->c->steps[i], now, &w->texts[next], &w->changes);
        now = &w->texts[next];
    }
    *out = now;
    return status;
}

static void drop(lf_aligned *text) {
    if (text->room > KEPT_MOST || text->places_room > KEPT_MOST / sizeof *text->places) lf_aligned_free(text);
}

static lf_status finish(lf_converted_workspace *w, lf_status status) {
    drop(&w->texts[0]), drop(&w->texts[1]), drop(&w->marked), drop(&w->word);
    if (w->n_nodes > KEPT_MOST) free(w->nodes), w->nodes = NULL, w->n_nodes = 0;
    if (w->changes.room > KEPT_MOST / sizeof *w->changes.counts) free(w->changes.counts), w->changes = (lf_changes){0};
    w->status = LF_OK;
    return status;
}

lf_status lf_converted_encode(lf_converted_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                              int64_t *spans, size_t *n_ids) {
    const lf_metaspace *m = &w->c->metaspace;
    const lf_aligned *normal;
    sink s = {ids, spans, 0};
    *n_ids = 0;
    if (n > LF_SP_MOST) return LF_EVALUE;
    const lf_status status = normalize(w, text, n, spans != NULL, &normal);
    if (status != LF_OK) return finish(w, status);
    w->marked.n = 0;
    if (!lf_aligned_reserve(&w->marked, 2 * normal->n + 1)) return finish(w, LF_ENOMEM);
    if (m->by_white_space) mark_parts(w, normal);
    else mark_text(w, normal, first);
    if (w->marked.n > LF_SP_MOST) return finish(w, LF_EVALUE);
    if (spans) trace_words(w, &s);
    else encode_words(w, &s);
    *n_ids = s.n;
    return finish(w, w->status);
}

lf_status lf_converted_workspace_new(lf_converted_workspace **out, const lf_converted *c, size_t cache_bytes) {
    *out = NULL;
    lf_converted_workspace *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
    if (!w) return LF_ENOMEM;
    memset(w, 0, sizeof *w);
    w->c = c;
    if (!words_new(&w->words, cache_bytes)) return lf_converted_workspace_free(w), LF_ENOMEM;
    w->words.pad = 0;
    *out = w;
    return LF_OK;
}

void lf_converted_workspace_free(lf_converted_workspace *w) {
    if (!w) return;
    words_free(&w->words);
    lf_aligned_free(&w->texts[0]), lf_aligned_free(&w->texts[1]);
    lf_aligned_free(&w->marked), lf_aligned_free(&w->word);
    free(w->changes.counts), free(w->nodes);
    free(w);
}
