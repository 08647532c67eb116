/* converted.c - see converted.h. */
#define _GNU_SOURCE /* madvise and MAP_ANONYMOUS */
#include "text/converted.h"

#include <math.h>

#include "text/piece_kinds.h"
#include "text/utf8.h"
#include "text/word_cache.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
    BATCH = 256,          /* units keyed before the first is looked up */
    KEPT_MOST = 1 << 22,  /* bytes that are kept between calls */
    UNITS_MOST = 1 << 26, /* bytes of a text that is cut into units */
    ADDED_MOST = 1 << 12, /* ids that there is room for besides those of a text */
};

/* Building. */

static inline unsigned class_of(const lf_converted *c, uint32_t cp) {
    return LF_LIKELY(cp < 0x10000) ? c->classes[cp] : c->high_class;
}

static inline int is_alien(unsigned class) { return class >= LF_U_ALIEN_2; }

/* Classes of characters, aliens apart: those that are in no piece. Unknown characters that become bytes are no aliens. */
static void note_classes(lf_converted *c) {
    const lf_sp_parts *parts = &c->model->parts;
    const uint8_t unseen = parts->byte_fallback ? LF_U_KNOWN : LF_U_ALIEN;
    memset(c->classes, unseen - 1, 0x800);
    memset(c->classes + 0x800, unseen, sizeof c->classes - 0x800);
    c->high_class = unseen;
    for (uint32_t id = 0; id < parts->n_ids; id++) {
        const uint8_t *p = parts->blob + parts->offsets[id], *end = parts->blob + parts->offsets[id + 1];
        for (uint32_t cp; p < end && parts->kinds[id] != LF_NO_PIECE;) {
            p += lf_utf8_read(p, end, &cp);
            if (cp < 0x10000) c->classes[cp] = cp < 0x800 ? LF_U_KNOWN_2 : LF_U_KNOWN;
            else c->high_class = LF_U_KNOWN;
        }
    }
    for (unsigned b = 0; b < 128; b++)
        c->classes[b] = (b | 32) >= 'a' && (b | 32) <= 'z' ? LF_U_LETTER
                        : b >= '0' && b <= '9'             ? LF_U_DIGIT
                                                           : LF_U_OTHER;
    if (c->metaspace.split) c->classes[c->mark] = LF_U_MARK;
    c->classes[' '] = LF_U_MARK;
    for (size_t page = 0x800 / 64; page < 0x10000 / 64; page++) {
        c->alien[page] = 1;
        for (size_t i = 0; i < 64; i++) c->alien[page] &= c->classes[64 * page + i] == LF_U_ALIEN;
    }
}

/* Which characters and classes are side by side in some piece. A mark stands for a space, too, and inside a piece for one
 * that begins no word. */
static void note_joined(lf_converted *c) {
    const lf_sp_parts *parts = &c->model->parts;
    double largest = fabs(c->model->unigram.unknown);
    for (unsigned k = 0; k < LF_U_CLASSES; k++) c->joined[k] = (uint8_t)(1 << k);
    for (uint32_t id = 0; id < parts->n_ids; id++) {
        const uint8_t *p = parts->blob + parts->offsets[id], *end = parts->blob + parts->offsets[id + 1];
        unsigned before = 0; /* classes, as bits */
        uint32_t last = LF_NO_CHARACTER;
        if (parts->kinds[id] == LF_NO_PIECE) continue;
        if (fabs(parts->scores[id]) > largest) largest = fabs(parts->scores[id]);
        for (uint32_t cp; p < end; last = cp) {
            p += lf_utf8_read(p, end, &cp);
            const unsigned class = 1u << class_of(c, cp) | (cp == c->mark ? 1 << LF_U_MARK : 0);
            for (unsigned k = 0; k < LF_U_CLASSES; k++)
                if (before >> k & 1) c->joined[k] |= (uint8_t)class;
            before = class;
            if (cp < 128 && last == c->mark) c->pairs[' '][cp / 64] |= (uint64_t)1 << cp % 64;
            if (cp < 128 && last < 128) c->pairs[last][cp / 64] |= (uint64_t)1 << cp % 64;
        }
    }
    c->by_units = largest <= 100 && (c->metaspace.split || c->metaspace.by_white_space);
}

/* Every id stands for a character at least, or for a byte where unknown ones become bytes. */
static size_t ids_of_character(const lf_converted *c) { return c->model->parts.byte_fallback ? 4 : 1; }

static size_t at_most(size_t value, size_t most) { return value < most ? value : most; }

static void find_growth(lf_converted *c) {
    const size_t many = 1 << 16; /* more is as much: products stay small */
    size_t growth = 1, added = 1;
    for (size_t i = 0; i < c->n_steps; i++) {
        const size_t by = at_most(lf_step_growth(&c->steps[i], i == 0), many);
        growth = at_most(growth * by, many);
        added = at_most(added * by + at_most(lf_step_added(&c->steps[i]), many), many);
    }
    growth *= ids_of_character(c), added = (added + 2) * ids_of_character(c) + 8;
    c->grows = growth > LF_CONVERTED_GROWTH || added > ADDED_MOST;
    c->growth = at_most(growth, LF_CONVERTED_GROWTH);
    c->added = at_most(added, ADDED_MOST);
}

static lf_status build(lf_converted *c, const lf_sp_parts *parts, const lf_step *steps, size_t n_steps, size_t *where) {
    const uint8_t *mark = c->metaspace.mark, *mark_end = mark + c->metaspace.n_mark;
    *where = LF_SP_NO_ID - 2;
    if (n_steps > LF_CONVERTED_STEPS) return LF_EVALUE;
    if (mark + lf_utf8_read(mark, mark_end, &c->mark) != mark_end || c->mark >= 0x10000) return LF_EVALUE;
    for (size_t i = 0; i < n_steps; i++) {
        c->steps[i] = steps[i];
        const lf_status status = lf_step_init(&c->steps[i]);
        c->n_steps++;
        if (status != LF_OK) return status;
    }
    const lf_status status = lf_sp_new(&c->model, parts, where);
    if (status != LF_OK) return status;
    const uint32_t mark_id = lf_double_array_find(&c->model->unigram.pieces, mark, c->metaspace.n_mark);
    c->mark_id = mark_id == parts->unknown_id || mark_id >= parts->n_ids ? LF_SP_NO_ID : mark_id;
    note_classes(c);
    note_joined(c);
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
    lf_aligned texts[2], marked, spelled;
    lf_changes changes;
    lf_unigram_node *nodes;
    size_t n_nodes; /* bytes */
    word_key keys[BATCH + 66];
    word_line *lines[BATCH + 66]; /* where the keys belong */
    uint32_t bounds[BATCH + 66];  /* where units begin */
    uint8_t kinds[BATCH + 66];    /* and what they are */
    size_t word, word_ids;        /* where the word that the next unit belongs to begins, and its ids */
    uint32_t before;              /* the note of the unit before in that word */
};

/* Kinds of units, and notes: whether one begins or ends with an unknown character, and whether only the whole word tells. */
enum { BEGINS_WORD = 1, IS_ALIEN = 2, IS_MARKED = 4 }; /* aliens with a mark before them, which is a piece */
enum { BEGINS_UNKNOWN = 1, ENDS_UNKNOWN = 2, UNSURE = 4 };

/* Where ids go. */
typedef struct {
    uint32_t *ids;
    int64_t *spans; /* NULL: nobody asks */
    size_t n;
} sink;

/* A word to ids. */

/* The id of w->spelled's bytes [begin, end). */
static inline void give(const lf_converted_workspace *w, sink *s, uint32_t id, size_t begin, size_t end) {
    if (s->spans) {
        s->spans[2 * s->n] = w->spelled.places[begin].begin;
        s->spans[2 * s->n + 1] = w->spelled.places[end - 1].end;
    }
    s->ids[s->n++] = id;
}

/* A run of unknown characters is one token, which may be in the vocabulary, or be its bytes. */
static void give_run(lf_converted_workspace *w, sink *s, size_t begin, size_t end) {
    const lf_sp *m = w->c->model;
    const uint8_t *text = w->spelled.bytes;
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
    w->nodes = lf_grown(w->nodes, &w->n_nodes, (n + 1) * sizeof *w->nodes, &w->status);
    return w->nodes != NULL;
}

static int is_unknown(const lf_converted_workspace *w, size_t at) {
    return w->nodes[at].id == LF_PIECE_UNKNOWN || w->nodes[at].id == w->c->model->parts.unknown_id;
}

/* The path in w->nodes, of w->spelled's bytes [begin, end). `unknown` is where a run of unknown characters began before them,
 * or SIZE_MAX; returns where one began that goes on behind them. */
static size_t give_path(lf_converted_workspace *w, sink *s, size_t begin, size_t end, size_t unknown) {
    for (size_t at = begin; at < end; at += w->nodes[at - begin].length) {
        if (is_unknown(w, at - begin)) {
            if (unknown == SIZE_MAX) unknown = at;
            continue;
        }
        if (unknown != SIZE_MAX) give_run(w, s, unknown, at);
        unknown = SIZE_MAX;
        give(w, s, w->nodes[at - begin].id, at, at + w->nodes[at - begin].length);
    }
    return unknown;
}

/* Where the aliens that begin at `at` end, or what lies before the next one. */
static size_t run_end(const lf_converted *c, const lf_aligned *word, size_t at, int alien, size_t *n_characters) {
    for (*n_characters = 0; at < word->n; ++*n_characters) {
        uint32_t cp;
        const unsigned width = lf_utf8_read(word->bytes + at, word->bytes + word->n, &cp);
        if (is_alien(class_of(c, cp)) != alien) break;
        at += width;
    }
    return at;
}

/* The ids of w->spelled, a whole one. */
static void best_path(lf_converted_workspace *w, sink *s) {
    const lf_unigram *unigram = &w->c->model->unigram;
    size_t unknown = SIZE_MAX, n_characters;
    double sum = 0;
    for (size_t at = 0, end; at < w->spelled.n; at = end) {
        end = run_end(w->c, &w->spelled, at, 1, &n_characters);
        if (end > at && unknown == SIZE_MAX) unknown = at;
        for (; n_characters; n_characters--) sum += unigram->unknown;
        at = end;
        end = run_end(w->c, &w->spelled, at, 0, &n_characters);
        if (end == at || !nodes_for(w, end - at)) continue;
        sum = lf_unigram_best(unigram, w->spelled.bytes + at, end - at, sum, w->nodes);
        unknown = give_path(w, s, at, end, unknown);
    }
    if (unknown != SIZE_MAX) give_run(w, s, unknown, w->spelled.n);
}

/* Makes w->spelled of bytes [begin, end) of w->marked, with marks for spaces. */
static int spell(lf_converted_workspace *w, size_t begin, size_t end) {
    const lf_metaspace *m = &w->c->metaspace;
    w->spelled.n = 0;
    while (begin < end) {
        if (!lf_aligned_reserve(&w->spelled, m->n_mark + end - begin)) return w->status = LF_ENOMEM, 0;
        if (w->marked.bytes[begin] == ' ')
            lf_aligned_put(&w->spelled, m->mark, m->n_mark, lf_aligned_place(&w->marked, begin)), begin++;
        const uint8_t *space = memchr(w->marked.bytes + begin, ' ', end - begin);
        const size_t stop = space ? (size_t)(space - w->marked.bytes) : end;
        lf_aligned_copy(&w->spelled, &w->marked, begin, stop);
        begin = stop;
    }
    return 1;
}

static void compute_word(lf_converted_workspace *w, size_t begin, size_t end, sink *s) {
    if (spell(w, begin, end)) best_path(w, s);
}

/* Units to ids. */

static const uint8_t *end_of(const lf_converted_workspace *w) { return w->marked.bytes + w->marked.n + LF_ALIGNED_PAD; }

/* The ids of a unit, which go into the cache; returns how many. */
static uint32_t compute_unit(lf_converted_workspace *w, size_t begin, size_t end, uint32_t *ids, uint32_t *note) {
    const uint8_t *p = w->marked.bytes + begin;
    sink s = {ids, NULL, 0};
    float unused;
    *note = UNSURE;
    if (end - begin > WORD_MOST || !spell(w, begin, end) || !nodes_for(w, w->spelled.n)) return 0;
    const double margin = lf_unigram_word(&w->c->model->unigram, w->spelled.bytes, w->spelled.n, w->nodes, &unused);
    const size_t unknown = give_path(w, &s, 0, w->spelled.n, SIZE_MAX);
    if (unknown != SIZE_MAX) give_run(w, &s, unknown, w->spelled.n);
    *note = (is_unknown(w, 0) ? BEGINS_UNKNOWN : 0) | (unknown != SIZE_MAX ? ENDS_UNKNOWN : 0);
    if (!(margin > LF_CONVERTED_MARGIN)) *note |= UNSURE;
    if (w->status == LF_OK) words_put(&w->words, p, end - begin, end_of(w), ids, s.n, s.n, *note);
    return (uint32_t)s.n;
}

/* The ids of a unit that one look does not find. */
static uint32_t look_up(lf_converted_workspace *w, size_t begin, size_t end, uint32_t *ids, uint32_t *note) {
    if (end - begin > WORD_MOST) return compute_unit(w, begin, end, ids, note);
    const word_found found = words_find(&w->words, w->marked.bytes + begin, end - begin, end_of(w));
    if (!found.ids) return compute_unit(w, begin, end, ids, note);
    memcpy(ids, found.ids, found.n_ids * sizeof *ids);
    *note = found.note;
    return found.n_ids;
}

static void key_units(lf_converted_workspace *w, size_t n_units) {
    for (size_t i = 0; i < n_units; i++) {
        const uint8_t *p = w->marked.bytes + w->bounds[i];
        const size_t n = w->bounds[i + 1] - w->bounds[i];
        if (w->kinds[i] & IS_ALIEN) continue;
        w->lines[i] = words_key(&w->words, p, n, end_of(w), &w->keys[i]);
    }
}

static int begins_word(const lf_converted *c, const uint8_t *p, const uint8_t *end) {
    uint32_t cp;
    lf_utf8_read(p, end, &cp);
    return class_of(c, cp) == LF_U_MARK;
}

/* The ids of the word that begins at `begin` and does not end before `at`. Returns its end. */
static size_t whole_word(lf_converted_workspace *w, size_t begin, size_t at, sink *s) {
    const uint8_t *text = w->marked.bytes;
    while (at < w->marked.n && !begins_word(w->c, text + at, text + w->marked.n)) at++;
    compute_word(w, begin, at, s);
    return at;
}

/* The ids of units; returns where in the text they end, or the word of the last one. */
static size_t emit_units(lf_converted_workspace *w, size_t n_units, sink *s) {
    const uint32_t unknown_id = w->c->model->parts.unknown_id;
    uint32_t *to = s->ids + s->n, before = w->before;
    size_t end = w->bounds[n_units], word = w->word;
    uint32_t *word_ids_at = s->ids + w->word_ids;
    for (size_t i = 0; i < n_units && w->status == LF_OK; i++) {
        const unsigned kind = w->kinds[i];
        uint32_t note, n_ids;
        word = kind & BEGINS_WORD ? w->bounds[i] : word;
        word_ids_at = kind & BEGINS_WORD ? to : word_ids_at;
        before = kind & BEGINS_WORD ? 0 : before;
        const word_ids *found;
        if (kind & IS_ALIEN) {
            to[0] = kind & IS_MARKED ? w->c->mark_id : unknown_id;
            to[1] = unknown_id;
            n_ids = kind & IS_MARKED ? 2 : 1;
            note = kind & IS_MARKED ? ENDS_UNKNOWN : BEGINS_UNKNOWN | ENDS_UNKNOWN;
        } else if ((found = words_probe_line(w->lines[i], w->keys[i])) && word_count(*found) <= w->words.short_ids) {
            words_take(found, w->words.narrow, to);
            n_ids = word_count(*found), note = word_note(*found);
        } else n_ids = look_up(w, w->bounds[i], w->bounds[i + 1], to, &note);
        if (LF_UNLIKELY(before >> 1 & note & BEGINS_UNKNOWN) && to[-1] == unknown_id && to[0] == unknown_id) {
            memmove(to, to + 1, --n_ids * sizeof *to); /* one run, which is no piece: none goes across the cut */
            before = 0;
        }
        if (LF_UNLIKELY((before >> 1 & note & BEGINS_UNKNOWN) | (note & UNSURE))) {
            s->n = (size_t)(word_ids_at - s->ids);
            end = whole_word(w, word, w->bounds[i + 1], s);
            while (i + 1 < n_units && w->bounds[i + 1] < end) i++;
            if (end < w->bounds[n_units]) end = w->bounds[n_units];
            to = s->ids + s->n, note = n_ids = 0;
        }
        to += n_ids;
        before = note;
    }
    s->n = (size_t)(to - s->ids);
    w->word = word, w->word_ids = (size_t)(word_ids_at - s->ids), w->before = before;
    return end;
}

/* A text to units. */

static inline void add_unit(lf_converted_workspace *w, size_t *n_units, size_t at, unsigned class) {
    w->bounds[*n_units] = (uint32_t)at;
    w->kinds[(*n_units)++] = (uint8_t)((class == LF_U_MARK ? BEGINS_WORD : 0) | (is_alien(class) ? IS_ALIEN : 0));
}

/* Whether no piece has two ASCII characters side by side. */
static inline int are_apart(const lf_converted *c, uint8_t a, uint8_t b) {
    return !(c->pairs[a][b / 64] >> b % 64 & 1);
}

/* A character of text that is well-formed; the two bytes behind it may be read. */
static inline unsigned read_valid(const uint8_t *p, const uint8_t *end, uint32_t *cp) {
    if (p[0] < 0x80) return *cp = p[0], 1;
    if (p[0] < 0xE0) return *cp = (p[0] & 31u) << 6 | (p[1] & 63u), 2;
    if (p[0] < 0xF0) return *cp = (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u), 3;
    return lf_utf8_read(p, end, cp);
}

/* What is one unit with the character beyond ASCII before `at`, of class *last, in one go: letters of two bytes, of which one
 * that some piece has makes the unit one to be looked up, or aliens. `stop` may lie within one. */
static inline size_t cut_run(const lf_converted *c, const uint8_t *text, size_t at, size_t stop, unsigned *last,
                             uint8_t *kind) {
    unsigned known = 0;
    if (*last == LF_U_KNOWN_2 || *last == LF_U_ALIEN_2) {
        for (; at < stop && (text[at] & 0xE0) == 0xC0; at += 2) {
            const unsigned class = c->classes[(text[at] & 31u) << 6 | (text[at + 1] & 63u)];
            if (LF_UNLIKELY(class == LF_U_MARK)) break;
            known |= class == LF_U_KNOWN_2, *last = class;
        }
        if (known) *kind &= (uint8_t)~(IS_ALIEN | IS_MARKED);
    } else if (*last == LF_U_ALIEN) {
        while (at < stop && (text[at] & 0xF0) == 0xE0 && c->alien[(text[at] & 15u) << 6 | (text[at + 1] & 63u)])
            at += 3;
    }
    return at;
}

#if defined(__SSE2__)
enum { BLOCKS = 1 };
#else
enum { BLOCKS = 0 };
#endif

/* Units that begin in text[at .. stop) behind a character of class *before. Stops where ASCII begins, if cut_ascii can go on
 * and it is more than one character. Returns where the last character ends. */
static size_t cut_characters(lf_converted_workspace *w, size_t at, size_t stop, unsigned *before, size_t *n_units) {
    const lf_converted *c = w->c;
    const uint8_t *text = w->marked.bytes, *end = text + w->marked.n;
    unsigned last = *before;
    while (at < stop) {
        uint32_t cp;
        unsigned class;
        if (BLOCKS && c->mark >= 128 && (text[at] | text[at + 1]) < 128) break;
        const unsigned width = read_valid(text + at, end, &cp);
        class = class_of(c, cp);
        at += width;
        uint8_t *kind = &w->kinds[*n_units - 1];
        if (LF_UNLIKELY(class != last || class == LF_U_MARK)) {
            const size_t begin = at - width;
            if (is_alien(class) && last == LF_U_MARK && c->mark_id != LF_SP_NO_ID && *kind == BEGINS_WORD) {
                *kind |= IS_ALIEN | IS_MARKED;
            } else if (class == LF_U_KNOWN_2 && last == LF_U_ALIEN_2) {
                *kind &= (uint8_t)~(IS_ALIEN | IS_MARKED);
            } else if (class != LF_U_ALIEN_2 || last != LF_U_KNOWN_2) {
                const int ascii = cp < 128 && text[begin - 1] < 128;
                const int apart = ascii ? are_apart(c, text[begin - 1], text[begin]) : !(c->joined[last] >> class & 1);
                if (class == LF_U_MARK || apart) add_unit(w, n_units, begin, class);
            }
            last = class;
        }
        if (cp >= 128) at = cut_run(c, text, at, stop, &last, &w->kinds[*n_units - 1]);
    }
    *before = last;
    return at;
}

#if defined(__SSE2__)
/* The same for ASCII, with a bit for each of 64 bytes: from `at`, where there is some, to the first byte that is none. */
static size_t cut_ascii(lf_converted_workspace *w, size_t at, unsigned *before, size_t *n_units) {
    const lf_converted *c = w->c;
    uint64_t is[LF_U_KNOWN_2] = {0}, high = 0;
#define BELOW(x, n) (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(n - 1)), x))
    for (unsigned i = 0; i < 4; i++) {
        const __m128i v = _mm_loadu_si128((const void *)(w->marked.bytes + at + 16 * i));
        const __m128i lower = _mm_or_si128(v, _mm_set1_epi8(32));
        high |= (uint64_t)(uint32_t)_mm_movemask_epi8(v) << 16 * i;
        is[LF_U_MARK] |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(' '))) << 16 * i;
        is[LF_U_LETTER] |= BELOW(_mm_sub_epi8(lower, _mm_set1_epi8('a')), 26) << 16 * i;
        is[LF_U_DIGIT] |= BELOW(_mm_sub_epi8(v, _mm_set1_epi8('0')), 10) << 16 * i;
    }
#undef BELOW
    is[LF_U_OTHER] = ~(is[LF_U_MARK] | is[LF_U_LETTER] | is[LF_U_DIGIT]);
    const size_t left = w->marked.n - at;
    if (left < 64) high |= (uint64_t)1 << left;
    const unsigned n_ascii = high ? (unsigned)__builtin_ctzll(high) : 64;
    uint64_t changes = 0;
    for (unsigned a = 0; a < LF_U_KNOWN_2; a++) changes |= is[a] & ~(is[a] << 1 | (*before == a));
    /* A letter behind a mark goes on with its unit: there is no model without such pieces. */
    changes = (changes & ~(is[LF_U_MARK] << 1 & is[LF_U_LETTER])) | is[LF_U_MARK];
    if (high) changes &= (high & -high) - 1;
    size_t n = *n_units;
    if (changes & 1 && w->marked.bytes[at - 1] >= 128) {
        const unsigned class = class_of(c, w->marked.bytes[at]);
        if (class == LF_U_MARK || !(c->joined[*before] >> class & 1)) add_unit(w, &n, at, class);
        changes &= ~(uint64_t)1;
    }
    for (; changes; changes &= changes - 1) {
        const unsigned bit = (unsigned)__builtin_ctzll(changes), is_mark = is[LF_U_MARK] >> bit & 1;
        const uint8_t *p = w->marked.bytes + at + bit;
        w->bounds[n] = (uint32_t)(at + bit);
        w->kinds[n] = (uint8_t)(is_mark ? BEGINS_WORD : 0);
        n += is_mark | (unsigned)are_apart(c, p[-1], *p);
    }
    *n_units = n;
    for (unsigned a = 0; a < LF_U_KNOWN_2; a++)
        if (is[a] >> (n_ascii - 1) & 1) *before = a;
    return at + n_ascii;
}
#endif

/* The units of a text from `at` on, as many as there is room for. Returns how many; the next one begins where the last of
 * them ends. */
static size_t cut(lf_converted_workspace *w, size_t at) {
    const size_t n = w->marked.n, start = at;
    uint32_t cp;
    size_t n_units = 0;
    const unsigned width = lf_utf8_read(w->marked.bytes + at, w->marked.bytes + n, &cp);
    unsigned before = class_of(w->c, cp);
    add_unit(w, &n_units, at, before);
    if (at == 0) w->kinds[0] |= BEGINS_WORD;
    for (at = start + width; at < n && (n_units < BATCH || n_units < 2);) {
#if defined(__SSE2__)
        if (w->c->mark >= 128 && w->marked.bytes[at] < 128) {
            at = cut_ascii(w, at, &before, &n_units);
            continue;
        }
#endif
        at = cut_characters(w, at, n - at < 64 ? n : at + 64, &before, &n_units);
    }
    w->bounds[n_units] = (uint32_t)n;
    return at < n ? n_units - 1 : n_units;
}

/* Words that are not cut further. */
static void encode_whole_words(lf_converted_workspace *w, sink *s) {
    const uint8_t *text = w->marked.bytes;
    const size_t n = w->marked.n;
    const int splits = w->c->metaspace.split || w->c->metaspace.by_white_space;
    for (size_t at = 0, end; at < n && w->status == LF_OK; at = end) {
        end = splits ? at + 1 : n;
        while (end < n && !begins_word(w->c, text + end, text + n)) end++;
        compute_word(w, at, end, s);
    }
}

static void encode_words(lf_converted_workspace *w, sink *s) {
    if (!w->c->by_units || w->marked.n > UNITS_MOST || s->spans) return encode_whole_words(w, s);
    for (size_t at = 0; at < w->marked.n && w->status == LF_OK;) {
        const size_t n_units = cut(w, at);
        key_units(w, n_units);
        at = emit_units(w, n_units, s);
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

/* `moved`: whether the beginning of the text, of which places tell, may be further on in the input. */
static lf_status normalize(lf_converted_workspace *w, const uint8_t *text, size_t n, int traced, const lf_aligned **out,
                           int *moved) {
    static uint8_t nothing[1];
    lf_aligned input = {(uint8_t *)(uintptr_t)(n ? text : nothing), NULL, n, n, 0, 0}; /* is only read */
    const lf_aligned *now = &input;
    lf_status status = LF_OK;
    w->texts[0].traced = w->texts[1].traced = w->marked.traced = w->spelled.traced = traced;
    *moved = 0;
    size_t next = 0, first_step = w->c->n_steps ? (size_t)w->c->steps[0].kind : LF_N_STEPS;
    if (!traced && first_step == LF_STEP_PRECOMPILED)
        status = lf_step_apply(&w->c->steps[0], now, &w->texts[0], &w->changes);
    if (traced || first_step != LF_STEP_PRECOMPILED || status == LF_EVALUE) {
        status = lf_aligned_begin(&w->texts[1], text, n);
        now = &w->texts[1];
        if (status == LF_OK && w->c->n_steps) {
            *moved = lf_step_moves_the_start(&w->c->steps[0], now);
            status = lf_step_apply(&w->c->steps[0], now, &w->texts[0], &w->changes);
        }
    }
    if (w->c->n_steps) now = &w->texts[0], next = 1;
    for (size_t i = 1; i < w->c->n_steps && status == LF_OK; i++, next ^= 1) {
        if (now->n > LF_SP_MOST) return LF_EVALUE; /* each step may make the text longer */
        *moved |= lf_step_moves_the_start(&w->c->steps[i], now);
        status = lf_step_apply(&w->c->steps[i], now, &w->texts[next], &w->changes);
        now = &w->texts[next];
    }
    *out = now;
    return status;
}

/* Whether there is room for the ids of w->marked, all that they could be. */
static int have_room(const lf_converted_workspace *w, size_t room) {
    const size_t each = ids_of_character(w->c);
    if (!w->c->grows || (w->marked.n + 1) * each + 8 <= room) return 1;
    return (lf_utf8_count(w->marked.bytes, w->marked.n) + 1) * each + 8 <= room;
}

static void drop(lf_aligned *text) {
    if (text->room > KEPT_MOST || text->places_room > KEPT_MOST) lf_aligned_free(text);
}

static lf_status finish(lf_converted_workspace *w, lf_status status) {
    drop(&w->texts[0]), drop(&w->texts[1]), drop(&w->marked), drop(&w->spelled);
    if (w->n_nodes > KEPT_MOST) free(w->nodes), w->nodes = NULL, w->n_nodes = 0;
    if (w->changes.room > KEPT_MOST / sizeof *w->changes.counts) lf_changes_free(&w->changes);
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
    int moved;
    lf_status status = normalize(w, text, n, spans != NULL, &normal, &moved);
    if (moved && first && m->prepend == LF_PREPEND_FIRST) {
        if (status == LF_OK && !spans) status = normalize(w, text, n, 1, &normal, &moved);
        first = status == LF_OK && normal->n && normal->places[0].begin == 0;
    }
    if (status != LF_OK) return finish(w, status);
    w->marked.n = 0;
    if (!lf_aligned_reserve(&w->marked, 2 * normal->n + 1)) return finish(w, LF_ENOMEM);
    if (m->by_white_space) mark_parts(w, normal);
    else mark_text(w, normal, first);
    drop(&w->texts[0]), drop(&w->texts[1]);
    if (w->marked.n > LF_SP_MOST) return finish(w, LF_EVALUE);
    if (!have_room(w, lf_converted_bound(w->c, n))) return finish(w, LF_EINDEX);
    encode_words(w, &s);
    *n_ids = s.n;
    return finish(w, w->status);
}

lf_status lf_converted_workspace_new(lf_converted_workspace **out, const lf_converted *c, size_t cache_bytes) {
    *out = NULL;
    lf_converted_workspace *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
    if (!w) return LF_ENOMEM;
    memset(w, 0, sizeof *w);
    w->c = c;
    if (!words_new(&w->words, cache_bytes, c->model->parts.n_ids)) return lf_converted_workspace_free(w), LF_ENOMEM;
    *out = w;
    return LF_OK;
}

void lf_converted_workspace_free(lf_converted_workspace *w) {
    if (!w) return;
    words_free(&w->words);
    lf_aligned_free(&w->texts[0]), lf_aligned_free(&w->texts[1]);
    lf_aligned_free(&w->marked), lf_aligned_free(&w->spelled);
    lf_changes_free(&w->changes), free(w->nodes);
    free(w);
}
