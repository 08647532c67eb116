/* split.c - the pre-tokenizers, a character at a time: the truth that vector splitters are held to; see split.h. */
#include "text/split.h"

#include "text/split_run.h"
#include "text/utf8.h"

typedef struct {
    const lf_unicode *unicode;
    const uint8_t *text, *end;
} reader;

enum { LETTER = LF_LETTER, NUMBER = LF_NUMBER, SPACE = LF_SPACE };

/* A character: its code point, its class bits and where it ends. Past the end: no class, no length. */
typedef struct {
    uint32_t code_point;
    unsigned class;
    const uint8_t *end;
} character;

static inline character at(const reader *r, const uint8_t *p) {
    character c = {0, 0, p};
    if (LF_UNLIKELY(p >= r->end)) return c;
    c.end = p + lf_utf8_read(p, r->end, &c.code_point);
    c.class = c.code_point == LF_NO_CHARACTER ? 0 : lf_class_of(r->unicode, c.code_point);
    return c;
}

static inline const uint8_t *run_of(const reader *r, const uint8_t *p, unsigned classes) {
    for (character c = at(r, p); c.class & classes; c = at(r, p)) p = c.end;
    return p;
}

/* [^\s\p{L}\p{N}]: a character that is there and is none of the three. */
static inline int is_symbol(const uint8_t *p, character c) {
    return c.end != p && !(c.class & (LETTER | NUMBER | SPACE));
}

static inline const uint8_t *run_of_symbols(const reader *r, const uint8_t *p) {
    for (character c = at(r, p); is_symbol(p, c); c = at(r, p)) p = c.end;
    return p;
}

static inline int is_newline(uint32_t c) { return c == '\n' || c == '\r'; }

/* '(?:[sdmt]|ll|ve|re) at the apostrophe p: the end of the match, NULL if there is none. Ignoring case takes in the
 * long s (U+017F), which folds to s; no other letter outside ASCII folds to one of these. */
static const uint8_t *contraction(const reader *r, const uint8_t *p, int ignore_case) {
    const size_t left = (size_t)(r->end - p);
    if (left < 2) return NULL;
    const unsigned fold = ignore_case ? 0x20 : 0;
    const unsigned a = p[1] | fold;
    if (a == 's' || a == 'd' || a == 'm' || a == 't') return p + 2;
    if (left < 3) return NULL;
    if (ignore_case && p[1] == 0xC5 && p[2] == 0xBF) return p + 3;
    const unsigned b = p[2] | fold;
    return (a == 'l' && b == 'l') || (a == 'v' && b == 'e') || (a == 'r' && b == 'e') ? p + 3 : NULL;
}

/* The white-space alternatives at the white-space character p. A run that a word follows leaves its last character to
 * that word's piece (or to a piece of its own); newlines end a piece, unless the pattern looks for the end of the text
 * first. */
static const uint8_t *white_space(const reader *r, const uint8_t *p, int newlines, int end_first) {
    const uint8_t *stop = p, *last = p, *after_newline = NULL;
    for (character c = at(r, p); c.class & SPACE; c = at(r, stop)) {
        last = stop;
        stop = c.end;
        if (is_newline(c.code_point)) after_newline = stop;
    }
    if (stop == r->end && end_first) return stop;
    if (newlines && after_newline) return after_newline;
    return stop == r->end || last == p ? stop : last;
}

static const uint8_t *gpt2(const reader *r, const uint8_t *p) {
    const uint8_t *e = *p == '\'' ? contraction(r, p, 0) : NULL;
    if (e) return e;
    const character c = at(r, p);
    const uint8_t *q = *p == ' ' && c.end < r->end ? c.end : p; /* the optional space */
    const character d = q == p ? c : at(r, q);
    if (d.class & LETTER) return run_of(r, d.end, LETTER);
    if (d.class & NUMBER) return run_of(r, d.end, NUMBER);
    if (is_symbol(q, d)) return run_of_symbols(r, d.end);
    return white_space(r, p, 0, 1);
}

/* ?[^\s\p{L}\p{N}]+ and then any of CR, LF and `also`; NULL if it does not match. */
static inline const uint8_t *symbols(const reader *r, const uint8_t *p, character c, uint8_t also) {
    if (*p == ' ') p = c.end, c = at(r, p);
    if (!is_symbol(p, c)) return NULL;
    p = run_of_symbols(r, c.end);
    while (p < r->end && (is_newline(*p) || *p == also)) p++;
    return p;
}

static inline const uint8_t *numbers(const reader *r, const uint8_t *p, int most) {
    for (character c = at(r, p); most-- && c.class & NUMBER; c = at(r, p)) p = c.end;
    return p;
}

static inline const uint8_t *cl100k(const reader *r, const uint8_t *p, int digits, int end_first) {
    const uint8_t *e = *p == '\'' ? contraction(r, p, 1) : NULL;
    if (e) return e;
    const character c = at(r, p);
    if (c.class & LETTER) return run_of(r, c.end, LETTER);
    if (c.class & NUMBER) return numbers(r, p, digits);
    if (!is_newline(c.code_point)) {
        const character d = at(r, c.end);
        if (d.class & LETTER) return run_of(r, d.end, LETTER);
    }
    e = symbols(r, p, c, '\n');
    return e ? e : white_space(r, p, 1, end_first);
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ at p; NULL if it does not match.
 *
 * Call the first set U, the second L; Lm, Lo and M are in both. The engine takes all of U it can. If an L follows, the
 * match runs to the end of the L's. If not, it gives back characters until one is in both sets: the match ends after
 * the last such character of the run. *run_end is the end of the U run, which alternative two needs. */
static const uint8_t *upper_then_lower(const reader *r, const uint8_t *p, const uint8_t **run_end) {
    enum { UPPER = LF_UPPER | LF_OTHER_LETTER | LF_MARK, LOWER = LF_LOWER | LF_OTHER_LETTER | LF_MARK };
    const uint8_t *after_both = NULL;
    character c = at(r, p);
    for (; c.class & UPPER; c = at(r, p)) {
        p = c.end;
        if (c.class & LOWER) after_both = p;
    }
    *run_end = p;
    return c.class & LOWER ? run_of(r, c.end, LOWER) : after_both;
}

/* The two alternatives for words of o200k at p; NULL if neither matches. */
static const uint8_t *letters_by_case(const reader *r, const uint8_t *p, character c) {
    const int may_prefix = !(c.class & (LETTER | NUMBER)) && !is_newline(c.code_point);
    const uint8_t *with_run = NULL, *without_run, *e = NULL;
    if (may_prefix) e = upper_then_lower(r, c.end, &with_run);
    if (!e && c.class & (LETTER | LF_MARK)) e = upper_then_lower(r, p, &without_run);
    else without_run = p;
    if (!e) { /* upper-case letters alone: the second alternative */
        if (may_prefix && with_run > c.end) e = with_run;
        else if (without_run > p) e = without_run;
        else return NULL;
    }
    const uint8_t *longer = e < r->end && *e == '\'' ? contraction(r, e, 1) : NULL;
    return longer ? longer : e;
}

static const uint8_t *o200k(const reader *r, const uint8_t *p) {
    const character c = at(r, p);
    const uint8_t *e = letters_by_case(r, p, c);
    if (e) return e;
    if (c.class & NUMBER) return numbers(r, p, 3);
    e = symbols(r, p, c, '/');
    return e ? e : white_space(r, p, 1, 0);
}

size_t lf_split_next(lf_split split, const lf_unicode *unicode, const uint8_t *text, size_t n, size_t from) {
    const reader r = {unicode, text, text + n};
    const uint8_t *p = text + from;
    switch (split) {
    case LF_SPLIT_GPT2: return (size_t)(gpt2(&r, p) - text);
    case LF_SPLIT_CL100K: return (size_t)(cl100k(&r, p, 3, 1) - text);
    case LF_SPLIT_LLAMA3: return (size_t)(cl100k(&r, p, 3, 0) - text);
    case LF_SPLIT_QWEN2: return (size_t)(cl100k(&r, p, 1, 0) - text);
    case LF_SPLIT_O200K: return (size_t)(o200k(&r, p) - text);
    case LF_SPLIT_NONE: break;
    }
    return n;
}

lf_split_batch lf_split_fill_pieces(lf_split_run *run, uint32_t *bounds) {
    lf_split_batch batch = {.base = run->at, .beyond_ascii = 1};
    bounds[0] = 0;
    while (run->at < run->n && run->at - batch.base < LF_SPLIT_WINDOW) {
        const size_t stop = lf_split_next(run->split, run->unicode, run->text, run->n, run->at);
        if (LF_UNLIKELY(stop - batch.base > LF_SPLIT_GIANT)) {
            if (batch.n_pieces == 0) batch.giant = stop - run->at, run->at = stop;
            break;
        }
        run->at = stop;
        bounds[++batch.n_pieces] = (uint32_t)(stop - batch.base);
    }
    return batch;
}
