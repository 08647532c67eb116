/* batch.c - see batch.h. */
#define _GNU_SOURCE /* memmem and memrchr */
#include "text/batch.h"

#include <stdlib.h>
#include <string.h>

#include "text/pages.h"
#include "text/transcode.h"
#include "text/utf8.h"

enum { PAGED = 1 << 19, AHEAD = 1 << 17 }; /* ids: a large page of them, and how far ahead of need it is made */

static int looks_for(const lf_added *added, const uint8_t *allowed) { return added && (allowed || added->n_plain); }

void lf_batch_begin(lf_batch *b, const lf_text *text, const lf_text_view *views, size_t n_texts, lf_allowed allowed,
                    int64_t *counts) {
    *b = (lf_batch){.text = text, .views = views, .n_texts = n_texts, .counts = counts};
    b->cut = text->split != LF_SPLIT_NONE && !looks_for(text->added_raw, allowed.raw) &&
             !looks_for(text->added_normalized, allowed.normalized);
}

void lf_batch_into(lf_batch *b, uint32_t *ids, size_t room) {
    b->ids = ids;
    b->room = room;
    lf_pages_advise(ids, room * sizeof *ids);
    b->n_paged = -((uintptr_t)ids / sizeof *ids) % PAGED;
    /* The ids of documents before one are no more than their bytes. */
    b->in_place =
        room >= (b->views ? lf_batch_room(b->text, b->views, b->n_texts) : lf_text_bound(b->text, b->n_bytes));
}

static void free_list(lf_part *list) {
    while (list) {
        lf_part *next = list->next;
        free(list->buffer), free(list->bytes), free(list->own_views), free(list->own_counts);
        free(list);
        list = next;
    }
}

void lf_batch_end(lf_batch *b) {
    for (size_t i = b->n_placed; i < b->n_taken; i++)
        if (b->parts[i]) b->parts[i]->next = NULL, free_list(b->parts[i]);
    free_list(b->idle);
    free(b->parts), free(b->rest);
    if (!b->views) free(b->counts);
    memset(b, 0, sizeof *b);
}

static size_t room_of(const lf_text *text, const lf_text_view *view) {
    return lf_text_bound(text, view->width ? lf_utf8_bound(view->n, view->width) : view->n);
}

size_t lf_batch_room(const lf_text *text, const lf_text_view *views, size_t n_texts) {
    size_t room = 0;
    for (size_t i = 0; i < n_texts; i++) room += room_of(text, &views[i]);
    return room;
}

/* Cuts. */

static uint32_t unit(const lf_text_view *view, size_t at) {
    switch (view->width) {
    case 2: return ((const uint16_t *)view->data)[at];
    case 4: return ((const uint32_t *)view->data)[at];
    default: return ((const uint8_t *)view->data)[at];
    }
}

static unsigned class_of(const lf_unicode *unicode, uint32_t c) { return c <= 0x10FFFF ? lf_class_of(unicode, c) : 0; }

static int is_cut(const lf_text *text, const lf_text_view *view, size_t at) {
    if (at < 2 || unit(view, at - 1) != '\n') return 0;
    uint32_t before, after;
    if (view->width) {
        before = unit(view, at - 2), after = unit(view, at);
    } else {
        const uint8_t *p = view->data;
        lf_utf8_read(p + lf_utf8_before(p, at - 1), p + at - 1, &before);
        lf_utf8_read(p + at, p + view->n, &after);
    }
    if (!(class_of(text->unicode, after) & LF_LETTER) || (after >= 0x80 && text->nfc)) return 0;
    return text->split != LF_SPLIT_GPT2 || !(class_of(text->unicode, before) & LF_SPACE);
}

size_t lf_batch_cut(const lf_text *text, const lf_text_view *view, size_t from, size_t at) {
    const char *bytes = view->width <= 1 ? view->data : NULL, *found;
    for (size_t i = at < view->n ? at : view->n - 1; i > from; i--) {
        if (bytes) { /* to the line feed before */
            if (!(found = memrchr(bytes + from, '\n', i - from))) break;
            i = (size_t)(found - bytes) + 1;
        }
        if (is_cut(text, view, i)) return i;
        while (bytes && i > from + 1 && bytes[i - 2] == '\n') i--; /* no letter follows those of a run but the last */
    }
    for (size_t i = at + 1; i < view->n; i++) {
        if (bytes) {
            if (!(found = memchr(bytes + i - 1, '\n', view->n - i))) break;
            i = (size_t)(found - bytes) + 1;
            while (i < view->n && bytes[i] == '\n') i++;
            if (i == view->n) break;
        }
        if (is_cut(text, view, i)) return i;
    }
    return view->n;
}

/* Parts. */

/* Room for the views and counts that a part brings itself. */
static int own(lf_part *part, size_t n) {
    if (n <= part->own_room) return 1;
    n += n / 2;
    lf_text_view *views = realloc(part->own_views, n * sizeof *views);
    if (views) part->own_views = views;
    int64_t *counts = realloc(part->own_counts, n * sizeof *counts);
    if (counts) part->own_counts = counts;
    if (views && counts) part->own_room = n;
    return views && counts;
}

/* A part that is not in use, and a slot for it. */
static lf_part *part_new(lf_batch *b) {
    if (b->n_taken == b->n_slots) {
        const size_t n = 2 * b->n_slots + 64;
        lf_part **more = realloc(b->parts, n * sizeof *more);
        if (!more) return NULL;
        b->parts = more, b->n_slots = n;
    }
    lf_part *part = b->idle;
    if (part) b->idle = part->next;
    else part = calloc(1, sizeof *part);
    if (part)
        part->n_ids = part->n_texts = part->n_bytes = part->from = 0, part->ids = part->ahead = NULL, part->next = NULL;
    return part;
}

static int take_slice(lf_batch *b, lf_part *part) {
    if (!own(part, 1)) return 0;
    const lf_text_view *view = &b->views[b->next];
    const size_t stop = b->cut ? lf_batch_cut(b->text, view, b->from, b->from + LF_BATCH_PART) : view->n;
    const char *data = (const char *)view->data + b->from * (view->width ? view->width : 1);
    part->own_views[0] = (lf_text_view){data, stop - b->from, view->width};
    part->views = part->own_views;
    part->counts = part->own_counts;
    part->n_texts = 1;
    part->from = b->from;
    if (stop < view->n) b->from = stop;
    else b->next++, b->from = 0;
    return 1;
}

static void take_texts(lf_batch *b, lf_part *part) {
    size_t n = 0, i = b->next;
    while (i < b->n_texts && n + b->views[i].n <= LF_BATCH_PART) n += b->views[i++].n;
    part->views = &b->views[b->next];
    part->counts = &b->counts[b->next];
    part->n_texts = i - b->next;
    b->next = i;
}

/* Gives a part its number and a place for its ids. Returns 0 if there is no memory. */
static int part_begin(lf_batch *b, lf_part *part) {
    part->number = b->n_taken;
    if (b->in_place && part->number == b->n_placed) {
        part->ids = b->ids + b->n_ids;
    } else if (b->ids) {
        const size_t room = lf_batch_room(b->text, part->views, part->n_texts);
        if (room > part->room) {
            free(part->buffer);
            part->buffer = malloc(room * sizeof *part->buffer);
            part->room = part->buffer ? room : 0;
        }
        part->ids = part->buffer;
        if (!part->ids) return 0;
    }
    b->parts[b->n_taken++] = NULL;
    return 1;
}

lf_status lf_batch_take(lf_batch *b, lf_part **result) {
    *result = NULL;
    if (b->next == b->n_texts) return LF_OK;
    lf_part *part = part_new(b);
    if (!part) return LF_ENOMEM;
    part->first = b->next;
    int begun = 1;
    if (b->views[b->next].n > LF_BATCH_PART) begun = take_slice(b, part);
    else take_texts(b, part);
    if (!begun || !part_begin(b, part)) return lf_batch_give(b, part), LF_ENOMEM;
    *result = part;
    return LF_OK;
}

lf_part *lf_batch_done(lf_batch *b, lf_part *part) {
    lf_part *list = NULL, **end = &list;
    b->parts[part->number] = part;
    for (; b->n_placed < b->n_taken && (part = b->parts[b->n_placed]); b->n_placed++) {
        part->at = b->n_ids;
        b->n_ids += part->n_ids;
        for (size_t i = 0; part->counts == part->own_counts && i < part->n_texts; i++)
            b->counts[part->first + i] += part->counts[i];
        *end = part, end = &part->next;
    }
    *end = NULL;
    if (list && list->ids && list->ids == list->buffer && b->n_ids + AHEAD > b->n_paged && b->n_paged < b->room) {
        list->ahead = b->ids + b->n_paged;
        list->n_ahead = b->room - b->n_paged < PAGED ? b->room - b->n_paged : PAGED;
        b->n_paged += PAGED;
    }
    return list;
}

void lf_batch_copy(const lf_batch *b, const lf_part *list) {
    if (list && list->ahead) lf_pages_populate(list->ahead, list->n_ahead * sizeof *list->ahead);
    for (; list; list = list->next)
        if (list->ids && list->ids == list->buffer && list->at + list->n_ids <= b->room)
            memcpy(b->ids + list->at, list->buffer, list->n_ids * sizeof *list->ids);
}

void lf_batch_give(lf_batch *b, lf_part *list) {
    while (list) {
        lf_part *next = list->next;
        list->next = b->idle, b->idle = list;
        list = next;
    }
}

/* Files. */

void lf_batch_begin_files(lf_batch *b, const lf_text *text, const uint8_t *mark, size_t n_mark, size_t n_bytes,
                          lf_allowed allowed) {
    lf_batch_begin(b, text, NULL, 0, allowed, NULL);
    b->mark = mark, b->n_mark = n_mark, b->n_bytes = n_bytes;
}

static int bytes_for(uint8_t **bytes, size_t *room, size_t n) {
    if (n <= *room) return 1;
    uint8_t *more = realloc(*bytes, n);
    if (!more) return 0;
    *bytes = more, *room = n;
    return 1;
}

lf_part *lf_batch_read_begin(lf_batch *b) {
    lf_part *part = part_new(b);
    if (!part) return NULL;
    if (!bytes_for(&part->bytes, &part->bytes_room, b->n_rest + LF_BATCH_READ)) return lf_batch_give(b, part), NULL;
    if (b->n_rest) memcpy(part->bytes, b->rest, b->n_rest);
    part->n_bytes = b->n_rest;
    part->first = b->next;
    part->from = b->from;
    part->start = part->searched = part->cut_from = 0;
    return part;
}

/* Adds text [part->start, stop); until reading ends a view has an offset in place of an address. */
static int add_text(lf_part *part, size_t stop) {
    if (!own(part, part->n_texts + 1)) return 0;
    part->own_views[part->n_texts++] = (lf_text_view){(const void *)part->start, stop - part->start, 0};
    part->start = part->searched = stop;
    return 1;
}

/* Where the mark is next, NULL if nowhere. Its first byte is rare as a rule, and looking for one byte is three times as fast
 * as looking for several. */
static const uint8_t *find_mark(const lf_batch *b, const uint8_t *p, const uint8_t *end) {
    enum { TRIES = 16 };
    for (int i = 0; i < TRIES && (size_t)(end - p) >= b->n_mark; i++, p++) {
        p = memchr(p, b->mark[0], (size_t)(end - p) - b->n_mark + 1);
        if (!p || !memcmp(p, b->mark, b->n_mark)) return p;
    }
    return memmem(p, (size_t)(end - p), b->mark, b->n_mark);
}

lf_status lf_batch_find(lf_batch *b, lf_part *part, int at_end) {
    const size_t n = part->n_bytes, partial = b->n_mark ? b->n_mark - 1 : 0;
    const uint8_t *found;
    while (b->n_mark && (found = find_mark(b, part->bytes + part->searched, part->bytes + n))) {
        if (!add_text(part, (size_t)(found - part->bytes))) return LF_ENOMEM;
        part->start = part->searched += b->n_mark;
        b->n_documents++, b->next++, b->from = 0;
    }
    if (at_end) {
        if (part->start < n || b->n_documents == 0) {
            if (!add_text(part, n)) return LF_ENOMEM;
            b->next++, b->from = 0;
        }
        b->n_documents = 0;
        return LF_OK;
    }
    if (n - part->start > partial) part->searched = n - partial;
    if (b->cut && part->n_texts == 0 && n >= LF_BATCH_READ + partial) {
        /* No mark begins before the end of this view and ends behind it, so none lies across a cut. */
        const lf_text_view view = {part->bytes, n - partial, 0};
        const size_t stop = lf_batch_cut(b->text, &view, part->cut_from, view.n - 1);
        part->cut_from = view.n - 4; /* the last character may not have been whole */
        if (stop < view.n && !add_text(part, stop)) return LF_ENOMEM;
        if (stop < view.n) b->from += stop;
    }
    if (n == part->bytes_room && part->n_texts == 0 && !bytes_for(&part->bytes, &part->bytes_room, 2 * n))
        return LF_ENOMEM;
    return LF_OK;
}

lf_status lf_batch_read_end(lf_batch *b, lf_part *part) {
    const size_t n_rest = part->n_bytes - part->start, n_counts = part->first + part->n_texts;
    if (!bytes_for(&b->rest, &b->rest_room, n_rest)) return LF_ENOMEM;
    if (n_rest) memcpy(b->rest, part->bytes + part->start, n_rest);
    b->n_rest = n_rest;
    if (part->n_texts == 0) return LF_OK;
    for (size_t i = 0; i < part->n_texts; i++) part->own_views[i].data = part->bytes + (size_t)part->own_views[i].data;
    part->views = part->own_views;
    part->counts = part->own_counts;
    if (n_counts > b->counts_room) {
        const size_t room = n_counts + n_counts / 2 + 64;
        int64_t *counts = realloc(b->counts, room * sizeof *counts);
        if (!counts) return LF_ENOMEM;
        memset(counts + b->counts_room, 0, (room - b->counts_room) * sizeof *counts);
        b->counts = counts, b->counts_room = room;
    }
    return part_begin(b, part) ? LF_OK : LF_ENOMEM;
}
