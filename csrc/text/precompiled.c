/* precompiled.c - see precompiled.h. */
#include "text/precompiled.h"

#include "text/graphemes.h"
#include "text/utf8.h"

enum { PLAIN, RULED, JOINS }; /* stays as it is; simple, and has a rule; not simple */
enum { WHOLE_MOST = 5 };      /* bytes of a cluster that is looked up as a whole */

static int is_ascii_run(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    const uint64_t high = 0x8080808080808080u, ones = 0x0101010101010101u;
    /* No byte has its high bit, none is below a space, and none is above ~ by one. */
    return !((v | (v - 0x20 * ones) | (v + ones)) & high);
}

static void note_kinds(lf_precompiled *z) {
    z->printable = 1;
    for (uint32_t cp = 0; cp < 0x10000; cp++) {
        uint8_t bytes[4];
        const unsigned n = lf_utf8_write(cp, bytes);
        z->kinds[cp] = PLAIN;
        if (cp >= 0xD800 && cp < 0xE000) continue;
        if (!lf_grapheme_is_simple(lf_grapheme_class_of(cp))) z->kinds[cp] = JOINS;
        else if (lf_charsmap_first(z->map, bytes, n)) z->kinds[cp] = RULED;
        const uint8_t *to = cp < 128 && z->kinds[cp] == RULED ? lf_charsmap_first(z->map, bytes, n) : NULL;
        if (to && to[0] && to[0] < 128 && !to[1]) z->bytes[cp] = to[0];
        if (cp >= ' ' && cp <= '~') z->printable &= z->kinds[cp] == PLAIN;
    }
}

lf_status lf_precompiled_new(lf_precompiled **out, const uint8_t *blob, size_t n, size_t *where) {
    *out = NULL;
    lf_precompiled *z = calloc(1, sizeof *z);
    if (!z) return LF_ENOMEM;
    lf_status status = lf_charsmap_new(&z->map, blob, n, where);
    if (status == LF_OK && !z->map->well_formed) *where = 0, status = LF_EVALUE;
    if (status != LF_OK) return lf_precompiled_free(z), status;
    note_kinds(z);
    *out = z;
    return LF_OK;
}

void lf_precompiled_free(lf_precompiled *z) {
    if (!z) return;
    lf_charsmap_free(z->map);
    free(z);
}

typedef struct {
    const lf_precompiled *z;
    const uint8_t *text;
    size_t n;
    lf_aligned *out;
    lf_changes *changes; /* NULL: nobody asks */
    lf_status status;
} job;

static int note(job *j, size_t n, int64_t count) {
    lf_changes *c = j->changes;
    if (c->n + n > c->room) {
        const size_t room = c->n + n + c->room / 2 + 64;
        int64_t *counts = realloc(c->counts, room * sizeof *counts);
        if (!counts) return j->status = LF_ENOMEM, 0;
        c->counts = counts, c->room = room;
    }
    for (size_t i = 0; i < n; i++) c->counts[c->n++] = count;
    return 1;
}

static size_t characters(const uint8_t *p, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += !lf_utf8_continues(p[i]);
    return count;
}

static void write(job *j, const uint8_t *p, size_t n) {
    if (!lf_aligned_reserve(j->out, n)) {
        j->status = LF_ENOMEM;
        return;
    }
    memcpy(j->out->bytes + j->out->n, p, n);
    j->out->n += n;
}

static void keep(job *j, const uint8_t *p, size_t n) {
    write(j, p, n);
    if (j->changes) note(j, characters(p, n), 0);
}

/* What tokenizers notes: characters take the places of old ones in turn, those that are too many are put in, and the last
 * one written so far stands for those that are too few - which the first of all cannot. */
static void replace(job *j, const uint8_t *old, size_t n_old, const uint8_t *to) {
    const size_t n_to = strlen((const char *)to);
    write(j, to, n_to);
    if (!j->changes) return;
    const size_t was = characters(old, n_old), is = characters(to, n_to);
    const size_t same = was < is ? was : is;
    if (!note(j, same, 0) || !note(j, is - same, -1)) return;
    if (was > is && j->changes->n) j->changes->counts[j->changes->n - 1] += (int64_t)(was - is);
}

static void cluster(job *j, const uint8_t *p, size_t n, size_t n_characters) {
    const uint8_t *to = n <= WHOLE_MOST ? lf_charsmap_first(j->z->map, p, n) : NULL;
    if (to) return replace(j, p, n, to);
    if (n_characters == 1) return keep(j, p, n);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && lf_utf8_continues(p[end]);) end++;
        to = lf_charsmap_first(j->z->map, p + i, end - i);
        if (to) replace(j, p + i, end - i, to);
        else keep(j, p + i, end - i);
    }
}

/* The clusters from `at` on, where one begins, to two simple characters side by side. Returns where the second begins. */
static size_t stretch(job *j, size_t at) {
    lf_grapheme_run run = {0, 0, 0, 0, 0};
    size_t begin = at, n_characters = 0;
    int was_simple = 0;
    while (at < j->n && j->status == LF_OK) {
        uint32_t cp;
        const unsigned width = lf_utf8_read(j->text + at, j->text + j->n, &cp);
        if (cp == LF_NO_CHARACTER) return j->status = LF_EVALUE, at;
        const lf_grapheme_class class = lf_grapheme_class_of(cp);
        const int simple = lf_grapheme_is_simple(class);
        if (lf_grapheme_ends(&run, class)) {
            cluster(j, j->text + begin, at - begin, n_characters);
            begin = at, n_characters = 0;
            if (simple && was_simple) return at;
        }
        was_simple = simple;
        n_characters++;
        at += width;
    }
    cluster(j, j->text + begin, at - begin, n_characters);
    return at;
}

/* The kind of the character at `at`, and its length. */
static inline unsigned kind_at(job *j, size_t at, unsigned *width) {
    const uint8_t *p = j->text + at;
    uint32_t cp;
    *width = lf_utf8_read(p, j->text + j->n, &cp);
    if (LF_LIKELY(cp < 0x10000)) return j->z->kinds[cp];
    if (cp == LF_NO_CHARACTER) return j->status = LF_EVALUE, (unsigned)JOINS;
    if (!lf_grapheme_is_simple(lf_grapheme_class_of(cp))) return JOINS;
    return lf_charsmap_first(j->z->map, p, *width) ? RULED : PLAIN;
}

/* Characters that stay as they are go on in one piece, from `start`; `last` is where the last of them begins. */
static void go_through(job *j) {
    size_t at = 0;
    while (at < j->n && j->status == LF_OK) {
        const size_t start = at;
        size_t last = at;
        unsigned width = 0, kind = PLAIN;
        for (; at < j->n; last = at, at += width) {
            while (j->z->printable && j->n - at > 8 && is_ascii_run(j->text + at)) last = at + 7, at += 8;
            if ((kind = kind_at(j, at, &width)) != PLAIN) break;
        }
        /* The end of a line, between two ASCII characters: the commonest rule by far. */
        if (kind == RULED && !j->changes && j->n - at > 1 && j->text[at] < 128 && j->z->bytes[j->text[at]] &&
            j->text[at + 1] < 128 && j->z->kinds[j->text[at + 1]] != JOINS) {
            keep(j, j->text + start, at + 1 - start);
            if (j->status == LF_OK) j->out->bytes[j->out->n - 1] = j->z->bytes[j->text[at]];
            at++;
            continue;
        }
        if (at == j->n || j->status != LF_OK) return keep(j, j->text + start, at - start);
        unsigned unused;
        if (kind == RULED && (at + width == j->n || kind_at(j, at + width, &unused) != JOINS)) {
            keep(j, j->text + start, at - start);
            cluster(j, j->text + at, width, 1);
            at += width;
        } else {
            if (kind == RULED) last = at;
            keep(j, j->text + start, last - start);
            at = stretch(j, last);
        }
    }
}

/* Places by what was noted, as NormalizedString::transform in tokenizers finds them. */
static void find_places(const lf_aligned *text, lf_aligned *out, const lf_changes *changes) {
    size_t at = 0, o = 0;
    lf_place before = {0, 0};
    for (size_t i = 0; i < changes->n; i++) {
        const lf_place place = changes->counts[i] < 0 || at == text->n ? before : text->places[at];
        for (int64_t k = 0; k <= changes->counts[i] && at < text->n; k++) {
            before = text->places[at++];
            while (at < text->n && lf_utf8_continues(text->bytes[at])) at++;
        }
        do out->places[o++] = place;
        while (o < out->n && lf_utf8_continues(out->bytes[o]));
    }
}

lf_status lf_precompiled_apply(const lf_precompiled *z, const lf_aligned *text, lf_aligned *out, lf_changes *changes) {
    job j = {z, text->bytes, text->n, out, text->traced ? changes : NULL, LF_OK};
    out->n = changes->n = 0;
    if (!lf_aligned_reserve(out, text->n)) return LF_ENOMEM;
    go_through(&j);
    if (j.status == LF_OK && text->traced) find_places(text, out, changes);
    return j.status;
}
