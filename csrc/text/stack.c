/* stack.c - see stack.h. */
#define _GNU_SOURCE /* madvise and MAP_ANONYMOUS */
#include "text/stack.h"

#include "text/utf8.h"
#include "text/word_cache.h"

enum {
    BATCH = 256,        /* words keyed before the first is looked up */
    MANY = 1 << 12,     /* words that are taken together */
    SLACK = 32,         /* ids that one store may write beyond those of a word */
    KEPT_MOST = 1 << 22 /* bytes that are kept between calls */
};

/* Building. */

static size_t at_most(size_t value, size_t most) { return value < most ? value : most; }

static void find_growth(lf_stack *s) {
    const size_t many = 1 << 16, each = s->bpe ? lf_word_bpe_growth(s->bpe) : 1; /* more is as much */
    size_t growth = 1, added = 1;
    for (size_t i = 0; i < s->n_steps; i++) {
        const size_t by = at_most(lf_step_growth(&s->steps[i], i == 0), many);
        growth = at_most(growth * by, many);
        added = at_most(added * by + at_most(lf_step_added(&s->steps[i]), many), many);
    }
    for (size_t i = 0; i < s->n_stages; i++)
        if (!s->stages[i].automaton.table && i) growth = at_most(2 * growth, many); /* a mark before each piece */
    s->growth = at_most(growth * each, LF_STACK_GROWTH);
    s->added = at_most((added + s->n_stages) * each, 1 << 12) + 2 * SLACK;
}

lf_status lf_stack_init(lf_stack *s) {
    for (size_t i = 0; i < s->n_steps; i++) {
        const lf_status status = lf_step_init(&s->steps[i]);
        if (status != LF_OK) return status;
    }
    find_growth(s);
    return LF_OK;
}

void lf_stack_free(lf_stack *s) {
    for (size_t i = 0; i < s->n_steps; i++) lf_step_free(&s->steps[i]);
    for (size_t i = 0; i < s->n_stages; i++) lf_automaton_free(&s->stages[i].automaton);
    lf_wordpiece_free(s->pieces);
    lf_word_bpe_free(s->bpe);
    memset(s, 0, sizeof *s);
}

struct lf_stack_workspace {
    const lf_stack *stack;
    word_cache words;
    lf_status status;
    lf_aligned texts[2];
    lf_changes changes;
    lf_word_scratch scratch;
    const lf_aligned *text; /* what is cut */
    lf_aligned *changed;    /* what the stage that changes pieces makes of them ... */
    size_t *ends[2];        /* ... and where each piece of the one and of the other ends */
    size_t n_ends[2], ends_room[2];
    unsigned into;              /* which of both w->changed has */
    size_t stop;                /* the stage that changes, or how many there are */
    int begins, changed_begins; /* whether the first piece of a text begins the document */
    word_key keys[BATCH];
    word_line *lines[BATCH];
    size_t bounds[BATCH][2];
    size_t n_words;
    uint32_t *ids;
    int64_t *spans;         /* NULL: nobody asks */
    lf_stack_words *wanted; /* NULL: ids are */
    size_t n, room;
};

/* Words to ids. */

/* The ids and lengths of a word, to w->scratch. */
static size_t compute(lf_stack_workspace *w, const uint8_t *p, size_t n) {
    const lf_stack *s = w->stack;
    size_t n_ids = 0;
    if (s->bpe) {
        w->status = lf_word_bpe_encode(s->bpe, p, n, &w->scratch, &n_ids);
        return w->status == LF_OK ? n_ids : 0;
    }
    w->status = lf_word_scratch_reserve(&w->scratch, n);
    if (w->status != LF_OK) return 0;
    n_ids = lf_wordpiece_encode(s->pieces, p, n, w->scratch.ids, w->scratch.lengths);
    if (!n_ids) w->status = LF_EVALUE;
    return n_ids;
}

static int have_room(lf_stack_workspace *w, size_t n) {
    if (w->room - w->n < n + SLACK) w->status = LF_EINDEX;
    return w->status == LF_OK;
}

static void add_computed(lf_stack_workspace *w, const uint8_t *p, size_t n, const uint8_t *end) {
    const size_t n_ids = compute(w, p, n);
    if (w->status != LF_OK || !have_room(w, n_ids)) return;
    memcpy(w->ids + w->n, w->scratch.ids, n_ids * sizeof *w->ids);
    w->n += n_ids;
    if (n <= WORD_MOST) words_put(&w->words, p, n, end, w->scratch.ids, n_ids, n_ids, 0);
}

/* A word that one look does not find. */
static void look_up(lf_stack_workspace *w, const uint8_t *p, size_t n, const uint8_t *end) {
    if (n > WORD_MOST) return add_computed(w, p, n, end);
    const word_found found = words_find(&w->words, p, n, end);
    if (!found.ids) return add_computed(w, p, n, end);
    if (!have_room(w, found.n_ids)) return;
    memcpy(w->ids + w->n, found.ids, found.n_ids * sizeof *w->ids);
    w->n += found.n_ids;
}

/* Ids with their places: tokens that have more bytes than the word, by its affixes, stand for its last one. */
static void add_traced(lf_stack_workspace *w, size_t begin, size_t end) {
    const size_t n_ids = compute(w, w->text->bytes + begin, end - begin);
    if (w->status != LF_OK || !have_room(w, n_ids)) return;
    const lf_place *places = w->text->places;
    size_t at = begin;
    for (size_t i = 0; i < n_ids; i++, at += w->scratch.lengths[i - 1]) {
        const size_t first = at < end ? at : end - 1, last = at_most(at + w->scratch.lengths[i], end) - 1;
        w->spans[2 * w->n] = places[first].begin;
        w->spans[2 * w->n + 1] = places[last].end;
        w->ids[w->n++] = w->scratch.ids[i];
    }
}

static void hand_over(lf_stack_workspace *w) {
    lf_stack_words *words = w->wanted;
    if (!words->take) return;
    w->status = words->take(words->taker);
    words->n = words->n_words = 0;
}

/* Most words begin where the one before them ends, and are copied together. */
static void keep_words(lf_stack_workspace *w, size_t n_words) {
    lf_stack_words *to = w->wanted;
    if (!lf_grow(&to->ends, &to->ends_room, (to->n_words + n_words) * sizeof *to->ends)) w->status = LF_ENOMEM;
    for (size_t i = 0; i < n_words && w->status == LF_OK;) {
        const size_t begin = w->bounds[i][0];
        size_t end = begin;
        for (; i < n_words && w->bounds[i][0] == end; i++) {
            end = w->bounds[i][1];
            to->ends[to->n_words++] = (int64_t)(to->n + end - begin);
        }
        if (!lf_grow(&to->bytes, &to->room, to->n + end - begin)) {
            w->status = LF_ENOMEM;
            return;
        }
        memcpy(to->bytes + to->n, w->text->bytes + begin, end - begin);
        to->n += end - begin;
    }
    if (w->status == LF_OK && to->n_words >= MANY) hand_over(w);
}

static void take_words(lf_stack_workspace *w) {
    const uint8_t *text = w->text->bytes, *end = text + w->text->n + LF_ALIGNED_PAD;
    const size_t n_words = w->n_words;
    w->n_words = 0;
    if (w->wanted) return keep_words(w, n_words);
    if (w->spans) {
        for (size_t i = 0; i < n_words && w->status == LF_OK; i++) add_traced(w, w->bounds[i][0], w->bounds[i][1]);
        return;
    }
    for (size_t i = 0; i < n_words; i++) {
        const uint8_t *p = text + w->bounds[i][0];
        const size_t n = w->bounds[i][1] - w->bounds[i][0];
        w->lines[i] = words_key(&w->words, p, n, end, &w->keys[i]);
    }
    for (size_t i = 0; i < n_words && w->status == LF_OK; i++) {
        const word_ids *found = words_probe_line(w->lines[i], w->keys[i]);
        if (LF_LIKELY(found && word_count(*found) <= w->words.short_ids && w->room - w->n >= SLACK)) {
            words_take(found, w->words.narrow, w->ids + w->n);
            w->n += word_count(*found);
        } else {
            look_up(w, text + w->bounds[i][0], w->bounds[i][1] - w->bounds[i][0], end);
        }
    }
}

/* A text to words. */

static int has_mark(const lf_stage *s, const uint8_t *p, size_t n) {
    return p[0] == ' ' || (n >= s->n_mark && !memcmp(p, s->mark, s->n_mark));
}

/* Room for where one more piece of w->changed ends. */
static int add_end(lf_stack_workspace *w) {
    size_t *const n = &w->n_ends[w->into];
    return lf_grow(&w->ends[w->into], &w->ends_room[w->into], ++*n * sizeof **w->ends);
}

/* A piece with marks for its spaces, to w->changed. */
static void change(lf_stack_workspace *w, const lf_stage *s, size_t begin, size_t end) {
    const int first = begin == 0 && w->begins;
    const int prepends = s->prepend == LF_PREPEND_ALWAYS || (s->prepend == LF_PREPEND_FIRST && first);
    lf_aligned *to = w->changed;
    if (w->n_ends[w->into] == 0) w->changed_begins = first;
    if (!add_end(w) || !lf_aligned_reserve(to, s->n_mark + end - begin)) {
        w->status = LF_ENOMEM;
        return;
    }
    if (prepends && !has_mark(s, w->text->bytes + begin, end - begin))
        lf_aligned_put(to, s->mark, s->n_mark, lf_aligned_place(w->text, begin));
    for (size_t at = begin; at < end;) {
        const uint8_t *space = memchr(w->text->bytes + at, ' ', end - at);
        const size_t stop = space ? (size_t)(space - w->text->bytes) : end;
        lf_aligned_copy(to, w->text, at, stop);
        if (stop < end) {
            if (!lf_aligned_reserve(to, s->n_mark + end - stop)) {
                w->status = LF_ENOMEM;
                return;
            }
            lf_aligned_put(to, s->mark, s->n_mark, lf_aligned_place(w->text, stop));
        }
        at = stop + 1;
    }
    w->ends[w->into][w->n_ends[w->into] - 1] = to->n;
}

/* A stretch that waits for what stands behind it. */
typedef struct {
    size_t begin, end;
    int waits, is_match;
} waiting;

static void cut(lf_stack_workspace *w, size_t stage, size_t begin, size_t end);

/* The next stretch of a piece, a match or what lies between matches. */
static inline void add_stretch(lf_stack_workspace *w, size_t stage, waiting *last, size_t begin, size_t end,
                               int is_match) {
    const lf_cut how = w->stack->stages[stage].cut;
    if (how == LF_CUT_ISOLATED) return cut(w, stage + 1, begin, end);
    if (how == LF_CUT_REMOVED) {
        if (!is_match) cut(w, stage + 1, begin, end);
        return;
    }
    const int joins = how == LF_CUT_CONTIGUOUS      ? is_match == last->is_match
                      : how == LF_CUT_WITH_PREVIOUS ? is_match && !last->is_match
                                                    : last->is_match && !is_match;
    if (last->waits && joins) {
        last->end = end, last->is_match = is_match;
        return;
    }
    if (last->waits) cut(w, stage + 1, last->begin, last->end);
    *last = (waiting){begin, end, 1, is_match};
}

/* A piece through the stages from one on. */
static void cut(lf_stack_workspace *w, size_t stage, size_t begin, size_t end) {
    const lf_stack *s = w->stack;
    if (stage == w->stop) {
        if (stage < s->n_stages) return change(w, &s->stages[stage], begin, end);
        w->bounds[w->n_words][0] = begin;
        w->bounds[w->n_words++][1] = end;
        if (w->n_words == BATCH) take_words(w);
        return;
    }
    const lf_automaton *a = &s->stages[stage].automaton;
    const int invert = s->stages[stage].invert;
    const int any_bytes = w->wanted != NULL;
    const uint8_t *text = w->text->bytes;
    waiting last = {0, 0, 0, 0};
    size_t done = begin;
    for (size_t at = begin; (at = lf_automaton_skip(a, text, end, at)) < end && w->status == LF_OK;) {
        const size_t stop = lf_automaton_match(a, text, end, at, any_bytes);
        if (stop == at) {
            uint32_t unused;
            at += any_bytes ? lf_automaton_read_any(text + at, text + end, &unused)
                            : lf_automaton_read(text + at, &unused);
            continue;
        }
        if (done < at) add_stretch(w, stage, &last, done, at, invert);
        add_stretch(w, stage, &last, at, stop, !invert);
        done = at = stop;
    }
    if (done < end) add_stretch(w, stage, &last, done, end, invert);
    if (last.waits) cut(w, stage + 1, last.begin, last.end);
}

/* w->text through all stages; w->changed is the other text. */
static void cut_all(lf_stack_workspace *w) {
    const lf_stack *s = w->stack;
    const size_t *before = &w->text->n;
    size_t n_before = 1;
    for (size_t stage = 0; w->status == LF_OK; stage = w->stop + 1) {
        for (w->stop = stage; w->stop < s->n_stages && s->stages[w->stop].automaton.table;) w->stop++;
        w->changed->n = w->n_ends[w->into] = 0;
        for (size_t i = 0, at = 0; i < n_before && w->status == LF_OK; at = before[i++])
            if (before[i] > at) cut(w, stage, at, before[i]);
        if (w->stop == s->n_stages) break;
        before = w->ends[w->into], n_before = w->n_ends[w->into];
        w->begins = w->changed_begins;
        w->text = w->changed;
        w->changed = &w->texts[w->changed == &w->texts[0]];
        w->into ^= 1;
    }
    if (w->status == LF_OK) take_words(w);
    if (w->status == LF_OK && w->wanted) hand_over(w);
}

/* A text. */

static lf_status normalize(lf_stack_workspace *w, const uint8_t *text, size_t n) {
    w->texts[0].traced = w->texts[1].traced = w->spans != NULL;
    lf_status status = lf_aligned_begin(&w->texts[0], text, n);
    unsigned now = 0;
    for (size_t i = 0; i < w->stack->n_steps && status == LF_OK; i++, now ^= 1) {
        if (w->texts[now].n > LF_SP_MOST) return LF_EVALUE; /* each step may make the text longer */
        status = lf_step_apply(&w->stack->steps[i], &w->texts[now], &w->texts[now ^ 1], &w->changes);
    }
    w->text = &w->texts[now], w->changed = &w->texts[now ^ 1];
    return status == LF_OK && w->text->n > LF_SP_MOST ? LF_EVALUE : status;
}

static void drop(lf_aligned *text) {
    if (text->room > KEPT_MOST || text->places_room > KEPT_MOST) lf_aligned_free(text);
}

static void drop_ends(lf_stack_workspace *w, unsigned i) {
    if (w->ends_room[i] > KEPT_MOST) free(w->ends[i]), w->ends[i] = NULL, w->ends_room[i] = 0;
}

/* What a long text needed is given back. */
static void finish(lf_stack_workspace *w) {
    drop(&w->texts[0]), drop(&w->texts[1]);
    drop_ends(w, 0), drop_ends(w, 1);
    if (w->changes.room > KEPT_MOST / sizeof *w->changes.counts) lf_changes_free(&w->changes);
    if (w->scratch.room_heap > KEPT_MOST) lf_word_scratch_free(&w->scratch);
    w->n_words = 0;
    w->status = LF_OK;
}

/* A text as it is. */
static lf_status take_as_is(lf_stack_workspace *w, const uint8_t *text, size_t n) {
    lf_aligned *to = &w->texts[0];
    w->texts[0].traced = w->texts[1].traced = 0;
    to->n = 0;
    if (!lf_aligned_reserve(to, n)) return LF_ENOMEM;
    if (n) memcpy(to->bytes, text, n);
    to->n = n;
    w->text = to, w->changed = &w->texts[1];
    return LF_OK;
}

/* What the workspace is set up for, of a text. */
static lf_status run(lf_stack_workspace *w, const uint8_t *text, size_t n, int first) {
    w->begins = first;
    lf_status status = w->wanted ? take_as_is(w, text, n) : normalize(w, text, n);
    if (status == LF_OK) {
        cut_all(w);
        status = w->status;
    }
    finish(w);
    return status;
}

lf_status lf_stack_encode(lf_stack_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                          int64_t *spans, size_t *n_ids) {
    *n_ids = 0;
    if (n > LF_SP_MOST) return LF_EVALUE;
    w->ids = ids, w->spans = spans;
    w->n = 0, w->room = lf_stack_bound(w->stack, n);
    const lf_status status = run(w, text, n, first);
    *n_ids = w->n;
    return status;
}

lf_status lf_stack_split(lf_stack_workspace *w, const uint8_t *text, size_t n, lf_stack_words *words) {
    if (n > LF_SP_MOST) return LF_EVALUE;
    words->n = words->n_words = 0;
    w->wanted = words, w->spans = NULL;
    const lf_status status = run(w, text, n, 1);
    w->wanted = NULL;
    return status;
}

void lf_stack_words_free(lf_stack_words *words) {
    free(words->bytes), free(words->ends);
    words->bytes = NULL, words->ends = NULL;
    words->n = words->room = words->n_words = words->ends_room = 0;
}

lf_status lf_stack_workspace_new(lf_stack_workspace **out, const lf_stack *stack, size_t cache_bytes) {
    *out = NULL;
    lf_stack_workspace *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
    if (!w) return LF_ENOMEM;
    memset(w, 0, sizeof *w);
    w->stack = stack;
    if ((stack->bpe || stack->pieces) && !words_new(&w->words, cache_bytes, stack->n_ids))
        return lf_stack_workspace_free(w), LF_ENOMEM;
    *out = w;
    return LF_OK;
}

void lf_stack_workspace_free(lf_stack_workspace *w) {
    if (!w) return;
    words_free(&w->words);
    lf_aligned_free(&w->texts[0]), lf_aligned_free(&w->texts[1]);
    lf_changes_free(&w->changes), lf_word_scratch_free(&w->scratch);
    free(w->ends[0]), free(w->ends[1]);
    free(w);
}
