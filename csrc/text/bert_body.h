/* bert_body.h - the BERT encoder, compiled once for each instruction set; see bert.h for what it does. Included by
 * bert_<isa>.c, which names LF_ISA and LF_ISA_ID. */
#define _GNU_SOURCE /* madvise and MAP_ANONYMOUS */
#include "text/bert.h"
#include "text/normalize.h"
#include "text/word_cache.h"

#define LF_CAT_(a, b) a##_##b
#define LF_CAT(a, b) LF_CAT_(a, b)

enum {
    BATCH = 512,      /* words keyed before the first is probed                           */
    WINDOW = 8192,    /* bytes of normalized text between two rounds                      */
    WORDS = 4096,     /* words between two rounds                                         */
    SLACK = 128,      /* bytes and words that one step may add, and room for wide stores  */
    ASCII_LEAST = 16, /* bytes of ASCII that are worth a block                            */
};

/* Where normalized text goes: the window, and the words found in it. A word that is not at its end yet is open: it has
 * a start but no stop. */
typedef struct {
    uint8_t *window;
    uint32_t *starts, *stops;
    size_t n, n_starts, n_stops;
    int open; /* the kind of the open word; 0: there is none */
} writer;

struct lf_bert_workspace {
    const lf_bert *bert;
    word_cache words;
    lf_status status; /* the first thing that went wrong */
    writer to;
    size_t room;                   /* bytes of the window, without the slack */
    size_t kept;                   /* bytes of an open word after which it is too long, whatever comes */
    uint8_t *cleaned, *decomposed; /* of a hard stretch */
    size_t n_cleaned, n_decomposed;
    uint32_t *ids; /* where ids go ... */
    size_t n_ids;
    uint32_t *sink; /* ... or those of one word, where they are only counted */
    size_t n_sink;
    uint32_t starts[WORDS + SLACK], stops[WORDS + SLACK];
    word_key keys[BATCH]; /* of a batch of words, and where they belong */
    word_line *lines[BATCH];
};

static void fail(lf_bert_workspace *w, lf_status status) {
    if (w->status == LF_OK) w->status = status;
}

/* Grows a buffer to at least n bytes and keeps the first `keep`. Returns 0 if there is no memory. */
static int need(lf_bert_workspace *w, void *buffer, size_t *have, size_t n, size_t keep) {
    uint8_t **p = buffer, *grown;
    if (n <= *have) return 1;
    n += n / 2;
    if (!(grown = malloc(n))) return fail(w, LF_ENOMEM), 0;
    if (keep) memcpy(grown, *p, keep);
    free(*p);
    *p = grown;
    *have = n;
    return 1;
}

/* Words to ids. */

static size_t compute(lf_bert_workspace *w, const uint8_t *p, size_t n, uint32_t *ids) {
    const size_t n_ids = lf_wordpiece_encode(w->bert->model, p, n, ids, NULL);
    if (!n_ids) fail(w, LF_EVALUE);
    return n_ids;
}

/* The ids of a word that one look does not find. */
static size_t look_up(lf_bert_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, uint32_t *ids) {
    if (n > WORD_MOST) return compute(w, p, n, ids);
    const word_found found = words_find(&w->words, p, n, end);
    if (found.ids) return memcpy(ids, found.ids, found.n_ids * sizeof *ids), found.n_ids;
    const size_t n_ids = compute(w, p, n, ids);
    if (n_ids) words_put(&w->words, p, n, end, ids, n_ids, n_ids, 0);
    return n_ids;
}

static void key_batch(lf_bert_workspace *w, size_t first, size_t n_words) {
    const uint8_t *end = w->to.window + w->room + SLACK;
    for (size_t i = 0; i < n_words; i++) {
        const uint8_t *p = w->to.window + w->starts[first + i];
        const size_t n = w->stops[first + i] - w->starts[first + i];
        w->lines[i] = words_key(&w->words, p, n, end, &w->keys[i]);
    }
}

static inline void emit_batch(lf_bert_workspace *w, size_t first, size_t n_words, const int narrow) {
    const uint8_t *end = w->to.window + w->room + SLACK;
    uint32_t *const ids = w->ids;
    size_t n_ids = w->n_ids;
    for (size_t i = 0; i < n_words; i++) {
        uint32_t *to = ids ? ids + n_ids : w->sink;
        const word_ids *found = words_probe_line(w->lines[i], w->keys[i]);
        if (LF_LIKELY(found && word_count(*found) <= (narrow ? 6 : 3))) {
            words_take(found, narrow, to);
            n_ids += word_count(*found);
        } else {
            const size_t n = w->stops[first + i] - w->starts[first + i];
            n_ids += look_up(w, w->to.window + w->starts[first + i], n, end, to);
        }
    }
    w->n_ids = n_ids;
}

/* A round: the words of the window become ids, and an open one moves to its beginning. A word that is too long already
 * keeps no more bytes than show it. */
static void take_words(lf_bert_workspace *w) {
    writer *to = &w->to;
    for (size_t i = 0; i < to->n_stops; i += BATCH) {
        const size_t m = to->n_stops - i < BATCH ? to->n_stops - i : BATCH;
        key_batch(w, i, m);
        if (w->words.narrow) emit_batch(w, i, m, 1);
        else emit_batch(w, i, m, 0);
    }
    const size_t start = to->open ? to->starts[to->n_stops] : to->n;
    size_t n = to->n - start;
    if (n > w->kept) n = w->kept;
    memmove(to->window, to->window + start, n);
    to->n = n;
    to->starts[0] = 0;
    to->n_starts = to->open != 0;
    to->n_stops = 0;
    if (n <= w->room / 2) return;
    size_t have = w->room + SLACK;
    if (n > UINT32_MAX / 4) fail(w, LF_ENOMEM); /* places in the window have 32 bits */
    else if (need(w, &to->window, &have, 2 * have, n)) w->room = have - SLACK;
    need(w, &w->sink, &w->n_sink, (w->room + SLACK) * sizeof *w->sink, 0);
}

/* Text to words. */

static inline int is_full(const lf_bert_workspace *w, const writer *to) {
    return to->n + SLACK > w->room || to->n_starts >= WORDS;
}

static inline void close_word(writer *to) {
    to->stops[to->n_stops] = (uint32_t)to->n;
    to->n_stops += to->open != 0;
    to->open = 0;
}

/* The store is eight bytes wide: those behind the character do no harm. */
static inline void put_bytes(writer *to, uint64_t bytes, size_t n) {
    memcpy(to->window + to->n, &bytes, 8);
    to->n += n;
}

static inline void put_alone(writer *to, uint64_t bytes, size_t n) {
    close_word(to);
    to->starts[to->n_starts++] = (uint32_t)to->n;
    put_bytes(to, bytes, n);
    to->stops[to->n_stops++] = (uint32_t)to->n;
}

static inline void put(writer *to, lf_glyph glyph) {
    const int kind = lf_glyph_kind_of(glyph);
    if (LF_LIKELY(kind >= LF_WORDY)) {
        if (to->open != kind) {
            close_word(to);
            to->starts[to->n_starts++] = (uint32_t)to->n;
            to->open = kind;
        }
        put_bytes(to, glyph, lf_glyph_n_bytes(glyph));
    } else if (kind == LF_SPACED) {
        close_word(to);
    } else if (kind == LF_ALONE) {
        put_alone(to, glyph, lf_glyph_n_bytes(glyph));
    }
}

/* A character of normalized text. */
static void put_character(lf_bert_workspace *w, uint32_t cp) {
    if (is_full(w, &w->to)) take_words(w);
    const lf_glyph_kind kind = lf_bert_kind(w->bert->options.rule, cp);
    if (w->status == LF_OK) put(&w->to, lf_glyph_of(kind, lf_glyph_bytes(cp), lf_utf8_length(cp)));
}

static void put_lowercase(lf_bert_workspace *w, uint32_t cp) {
    uint32_t lower[3] = {cp};
    const unsigned n = w->bert->options.lowercase ? lf_rewritten(LF_LOWERCASE, cp, lower) : 1;
    for (unsigned i = 0; i < n; i++) put_character(w, lower[i]);
}

static inline unsigned read_character(const uint8_t *p, const uint8_t *end, uint32_t *cp) {
    const unsigned n = lf_utf8_read(p, end, cp);
    if (LF_UNLIKELY(*cp == LF_NO_CHARACTER)) *cp = 0xFFFD;
    return n;
}

/* Writes the cleaned characters from the hard one at `at` to the next boundary of NFD to w->cleaned; returns their
 * length, and in *at where the boundary is. */
static size_t clean_stretch(lf_bert_workspace *w, const uint8_t *text, size_t n, size_t *at) {
    size_t n_cleaned = 0;
    for (size_t i = *at; i < n;) {
        uint32_t cp;
        const unsigned length = read_character(text + i, text + n, &cp);
        if (n_cleaned && !(w->bert->options.clean && lf_is_dirt(cp)) && !lf_joins(lf_form_entry_of(cp), LF_NFD)) break;
        *at = i += length;
        if (w->bert->options.clean && !lf_rewritten(LF_CLEAN, cp, &cp)) continue;
        if (!need(w, &w->cleaned, &w->n_cleaned, n_cleaned + 4, n_cleaned)) return 0;
        n_cleaned += lf_utf8_write(cp, w->cleaned + n_cleaned);
    }
    return n_cleaned;
}

/* Takes a hard character and what may change places with it the way of bert.h's slow steps; returns where it ends. */
static size_t put_stretch(lf_bert_workspace *w, const uint8_t *text, size_t n, size_t at) {
    if (!w->bert->options.strip_accents) {
        uint32_t cp;
        at += read_character(text + at, text + n, &cp);
        if (!w->bert->options.clean || lf_rewritten(LF_CLEAN, cp, &cp)) put_lowercase(w, cp);
        return at;
    }
    const size_t n_cleaned = clean_stretch(w, text, n, &at);
    if (!need(w, &w->decomposed, &w->n_decomposed, lf_form_bound(LF_NFD, n_cleaned) + 1, 0)) return n;
    const size_t n_decomposed = lf_normalize(LF_NFD, w->cleaned, n_cleaned, w->decomposed, NULL);
    for (size_t i = 0; i < n_decomposed && w->status == LF_OK;) {
        uint32_t cp;
        i += lf_utf8_read(w->decomposed + i, w->decomposed + n_decomposed, &cp);
        if (!(lf_traits_of(cp) & LF_NONSPACING_8)) put_lowercase(w, cp);
    }
    return at;
}

/* A Hangul syllable as the letters that NFD makes of it, each of three bytes. The word is open. */
static inline void put_syllable(writer *to, uint32_t s) {
    const uint32_t l = s / 588, v = s % 588 / 28, t = s % 28, third = 0x27 + t; /* U+11A7 + t */
    put_bytes(to, (0x8084E1 + (l << 16)) | (uint64_t)(0xA185E1 + (v << 16)) << 24, 6);
    put_bytes(to, 0x8086E1 + (third >> 6 << 8) + ((third & 63) << 16), t ? 3 : 0);
}

/* Runs: what goes on like the character before, in loops whose branches are easy to foresee. Each stops at the first
 * character that is not of its sort, and at `stop`; there are three bytes more to read there. */

static inline size_t put_two_byte_run(const lf_glyph *glyphs, writer *to, const uint8_t *text, size_t at, size_t stop) {
    for (; at < stop && text[at] - 0xC2u < 0x1E && lf_utf8_continues(text[at + 1]); at += 2) {
        const lf_glyph glyph = glyphs[(text[at] & 31u) << 6 | (text[at + 1] & 63u)];
        const int kind = lf_glyph_kind_of(glyph);
        if (kind != LF_WORDY && kind != LF_GONE) break;
        put_bytes(to, glyph, lf_glyph_n_bytes(glyph));
    }
    return at;
}

static inline uint32_t read_three(const uint8_t *p) { return (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u); }
static inline int is_three(const uint8_t *p) { return lf_utf8_continues(p[1]) && lf_utf8_continues(p[2]); }

static inline size_t put_syllable_run(writer *to, const uint8_t *text, size_t at, size_t stop) {
    for (; at < stop && text[at] - 0xEAu < 4 && is_three(text + at); at += 3) {
        const uint32_t s = read_three(text + at) - 0xAC00;
        if (s >= 11172) break;
        put_syllable(to, s);
    }
    return at;
}

/* Ideographs are words of their own, and most of them are what they are. */
static inline size_t put_ideograph_run(writer *to, const uint8_t *text, size_t at, size_t stop) {
    for (; at < stop && text[at] - 0xE4u < 6 && is_three(text + at); at += 3) {
        if (read_three(text + at) < 0x4E00) break;
        put_alone(to, text[at] | text[at + 1] << 8 | text[at + 2] << 16, 3);
    }
    return at;
}

/* A character outside the tables; 0 if it is hard. */
static int put_rare(const lf_bert *bert, writer *to, uint32_t cp) {
    const lf_glyph glyph = lf_bert_glyph(&bert->options, cp);
    if (lf_glyph_kind_of(glyph) == LF_HARD) return 0;
    const int spaced = bert->options.space_ideographs && lf_is_ideograph(cp);
    if (spaced) close_word(to);
    put(to, glyph);
    if (spaced) close_word(to);
    return 1;
}

/* Characters one at a time: up to a hard one, a full window, or ASCII enough for blocks. Returns where it stopped. */
static size_t put_characters(lf_bert_workspace *w, const uint8_t *text, size_t n, size_t at) {
    const lf_bert *bert = w->bert;
    const lf_glyph *glyphs = bert->glyphs;
    const int apart = bert->options.space_ideographs, syllables = bert->options.strip_accents;
    writer to = w->to; /* a copy, so that it can live in registers */
    /* A byte becomes at most three, and begins at most one word. */
    const size_t bytes = (w->room - SLACK / 2 - to.n) / 3, words = WORDS - to.n_starts;
    const size_t most = bytes < words ? bytes : words, stop = n - at < most ? n : at + most;
    const size_t run_stop = stop + 3 <= n ? stop : n < 3 ? 0 : n - 3;
    for (unsigned n_ascii = 0; at < stop && n_ascii < ASCII_LEAST;) {
        uint32_t cp = text[at];
        unsigned length = 1;
        if (cp < 0x80) {
            n_ascii++;
        } else {
            n_ascii = 0;
            length = read_character(text + at, text + n, &cp);
        }
        if (LF_LIKELY(cp < LF_GLYPHS_LOW)) {
            if (LF_UNLIKELY(lf_glyph_kind_of(glyphs[cp]) == LF_HARD)) break;
            put(&to, glyphs[cp]);
            at += length;
            if (length == 2 && to.open == LF_WORDY) at = put_two_byte_run(glyphs, &to, text, at, run_stop);
        } else if (apart && cp >= 0x4E00 && cp <= 0x9FFF) {
            put_alone(&to, text[at] | text[at + 1] << 8 | text[at + 2] << 16, 3);
            at = put_ideograph_run(&to, text, at + 3, run_stop);
        } else if (syllables && cp - 0xAC00 < 11172) {
            put(&to, lf_glyph_of(LF_WORDY, 0, 0)); /* opens the word */
            put_syllable(&to, cp - 0xAC00);
            at = put_syllable_run(&to, text, at + 3, run_stop);
        } else if (cp >= LF_GLYPHS_HIGH && cp < 0x10000) {
            const lf_glyph glyph = glyphs[LF_GLYPHS_LOW + cp - LF_GLYPHS_HIGH];
            if (LF_UNLIKELY(lf_glyph_kind_of(glyph) == LF_HARD)) break;
            put(&to, glyph);
            at += length;
        } else if (put_rare(bert, &to, cp)) {
            at += length;
        } else {
            break;
        }
    }
    w->to = to;
    return at;
}

#if defined(__AVX2__)
#include "text/bert_blocks.h"
#endif

static lf_status encode(lf_bert_workspace *w, const uint8_t *text, size_t n, uint32_t *ids, size_t *n_ids) {
    w->ids = ids;
    w->n_ids = 0;
    for (size_t at = 0; at < n && w->status == LF_OK;) {
        if (is_full(w, &w->to)) take_words(w);
#if defined(__AVX2__)
        at = put_blocks(w, text, n, at);
        if (at == n || is_full(w, &w->to)) continue;
#endif
        const size_t start = at;
        at = put_characters(w, text, n, at);
        if (at == start && !is_full(w, &w->to)) at = put_stretch(w, text, n, at);
    }
    close_word(&w->to);
    take_words(w);
    const lf_status status = w->status;
    w->status = LF_OK;
    w->to.n = w->to.n_starts = w->to.n_stops = 0;
    *n_ids = w->n_ids;
    return status;
}

static void workspace_free(lf_bert_workspace *w) {
    if (!w) return;
    words_free(&w->words);
    free(w->to.window), free(w->cleaned), free(w->decomposed), free(w->sink);
    free(w);
}

static lf_status workspace_new(lf_bert_workspace **workspace, const lf_bert *bert, size_t cache_bytes) {
    *workspace = NULL;
    lf_bert_workspace *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
    if (!w) return LF_ENOMEM;
    memset(w, 0, sizeof *w);
    w->bert = bert;
    w->room = WINDOW;
    const size_t most = bert->model->max_chars;
    w->kept = most < 1 << 28 ? 4 * most + 4 : (size_t)-1; /* so many bytes are more than so many characters */
    w->to.starts = w->starts;
    w->to.stops = w->stops;
    w->to.window = malloc(WINDOW + SLACK);
    if (!w->to.window || !need(w, &w->sink, &w->n_sink, (WINDOW + SLACK) * sizeof *w->sink, 0) ||
        !words_new(&w->words, cache_bytes, bert->model->n_ids))
        return free(w->to.window), free(w->sink), free(w), LF_ENOMEM;
    *workspace = w;
    return LF_OK;
}

const lf_bert_ops LF_CAT(lf_bert, LF_ISA) = {LF_ISA_ID, workspace_new, workspace_free, encode};
