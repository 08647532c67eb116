/* automaton.h - a regular expression as a table: the longest way that a match goes on, a character at a time.
 *
 *     table[state][class of the next character] = next state, and whether a match ends before that character
 *
 * What the table says is made in lmfast/text/automata.py. The end of the text is a class of its own, the last one, so a
 * pattern that looks one character ahead needs nothing more. Here a state is the place where its row begins.
 *
 * Time: linear in the bytes that a match and its look ahead have. Text is well-formed UTF-8, or where `any_bytes` says so
 * any bytes: one that belongs to no character is looked up as the lone surrogate that Python's "surrogateescape" has for it. */
#ifndef LF_TEXT_AUTOMATON_H
#define LF_TEXT_AUTOMATON_H

#include "lf.h"
#include "text/utf8.h"

enum { LF_AUTOMATON_PAGE = 128, LF_AUTOMATON_PAGES = 0x110000 / LF_AUTOMATON_PAGE };
#define LF_AUTOMATON_MATCH 0x80000000u

typedef struct {
    const uint16_t *pages; /* by code point / LF_AUTOMATON_PAGE, a block of classes */
    const uint8_t *blocks;
    const uint8_t *ascii;              /* the classes of the first 128 code points */
    uint8_t begins[LF_AUTOMATON_PAGE]; /* whether a match may begin with one of them */
    uint32_t *table;
    uint32_t n_columns;
} lf_automaton;

/* table[i] is the next state (15 bits, 0: no match goes on) and whether a match ends (1), by rows of n_columns; a search
 * begins in state 1. `pages` and `blocks` stay the caller's. LF_EVALUE: a page, class or state that there is none of. */
lf_status lf_automaton_new(lf_automaton *a, const uint16_t *pages, const uint8_t *blocks, size_t n_blocks,
                           const uint16_t *table, size_t n_states, size_t n_columns);
void lf_automaton_free(lf_automaton *a);

static inline unsigned lf_automaton_read(const uint8_t *p, uint32_t *cp) {
    if (LF_LIKELY(p[0] < 0x80)) return *cp = p[0], 1;
    if (p[0] < 0xE0) return *cp = (p[0] & 31u) << 6 | (p[1] & 63u), 2;
    if (p[0] < 0xF0) return *cp = (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u), 3;
    return *cp = (p[0] & 7u) << 18 | (p[1] & 63u) << 12 | (p[2] & 63u) << 6 | (p[3] & 63u), 4;
}

/* The same of any bytes before `end`. */
static inline unsigned lf_automaton_read_any(const uint8_t *p, const uint8_t *end, uint32_t *cp) {
    const unsigned width = lf_utf8_read(p, end, cp);
    if (LF_UNLIKELY(*cp == LF_NO_CHARACTER)) *cp = 0xDC00u | p[0];
    return width;
}

/* The first place from `at` on where no ASCII character stands, or one that a match may begin with; n if there is none. */
static inline size_t lf_automaton_skip(const lf_automaton *a, const uint8_t *text, size_t n, size_t at) {
    while (at < n && text[at] < 0x80 && !a->begins[text[at]]) at++;
    return at;
}

/* Where the match that begins at `at` ends in a text that ends at n; `at` if there is none. */
static inline size_t lf_automaton_match(const lf_automaton *a, const uint8_t *text, size_t n, size_t at,
                                        int any_bytes) {
    size_t end = at;
    const uint32_t *table = a->table;
    const uint8_t *ascii = a->ascii;
    for (uint32_t row = a->n_columns;;) {
        if (LF_UNLIKELY(at >= n)) return table[row + a->n_columns - 1] & LF_AUTOMATON_MATCH ? n : end;
        uint8_t class;
        unsigned width = 1;
        if (LF_LIKELY(text[at] < 0x80)) {
            class = ascii[text[at]];
        } else {
            uint32_t cp;
            width = any_bytes ? lf_automaton_read_any(text + at, text + n, &cp) : lf_automaton_read(text + at, &cp);
            class = a->blocks[(size_t)a->pages[cp / LF_AUTOMATON_PAGE] * LF_AUTOMATON_PAGE + cp % LF_AUTOMATON_PAGE];
        }
        const uint32_t next = table[row + class];
        if (next & LF_AUTOMATON_MATCH) end = at;
        row = next & ~LF_AUTOMATON_MATCH;
        if (!row) return end;
        at += width;
    }
}

#endif
