/* sp_normalizer.h - what sentencepiece does to a text before its model sees it.
 *
 * Step by step, from the left: a user-defined symbol stays as it is; else the longest rule of the map of characters
 * replaces what it matches; else a character stays as it is; a byte that is part of no well-formed character becomes
 * U+FFFD. Then white space: spaces become the marker (U+2581, or a space where they are not escaped), and the options say
 * whether a marker is put before or behind the text and whether several become one and those at the ends go.
 *
 * Exactness: sentencepiece 0.2.3, normalizer.cc. Time and memory: linear in the text. */
#ifndef LF_TEXT_SP_NORMALIZER_H
#define LF_TEXT_SP_NORMALIZER_H

#include "lf.h"
#include "text/charsmap.h"
#include "text/double_array.h"

typedef struct {
    int add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, treat_whitespace_as_suffix;
} lf_sp_options;

typedef struct {
    const lf_charsmap *charsmap;    /* NULL: no rules */
    const lf_double_array *symbols; /* NULL: no user-defined symbols */
    lf_sp_options options;
    uint8_t marker[3];   /* what a space becomes ... */
    size_t n_marker;     /* ... and its bytes, 1 or 3 */
    uint8_t plain[256];  /* bytes that stay as they are: 2, whatever follows; 1, where no byte of `inside` does */
    uint8_t inside[256]; /* some rule has this byte behind its first */
    /* By the first byte of a character of two, bits of those that stay as they are where no byte of `inside` follows. The
     * owner may set them; at first none is. */
    uint64_t plain_2[32];
} lf_sp_normalizer;

/* A text that grows, and where each byte of it comes from. Begins as zeros; `origins` only where `traced`. */
typedef struct {
    uint8_t *bytes;
    size_t *origins; /* offsets in the input, one a byte and one for the end */
    size_t n, room, origins_room;
    int traced;
} lf_sp_text;

/* Prepares a normalizer, which owns nothing: the map and the symbols must outlive it. */
void lf_sp_normalizer_init(lf_sp_normalizer *z, const lf_charsmap *charsmap, const lf_double_array *symbols,
                           lf_sp_options options);

/* The whole text, which replaces what `out` holds. */
lf_status lf_sp_normalize(const lf_sp_normalizer *z, const uint8_t *text, size_t n, lf_sp_text *out);

/* Parts, appended to `out`: a stretch of the text, where *after_space says whether spaces at its begin are to go and then
 * whether those of the next part are; and the marker. `at` is where the part begins in the input. */
lf_status lf_sp_normalize_part(const lf_sp_normalizer *z, const uint8_t *text, size_t n, size_t at, int *after_space,
                               lf_sp_text *out);
lf_status lf_sp_mark(const lf_sp_normalizer *z, size_t at, lf_sp_text *out);
int lf_sp_ends_with_marker(const lf_sp_normalizer *z, const lf_sp_text *out);

/* Gives the text's memory back; it is as at its begin. */
void lf_sp_text_free(lf_sp_text *text);

/* The bytes of a character as sentencepiece counts them: by its first byte alone, but not past the end. */
static inline size_t lf_sp_width(const uint8_t *p, size_t left) {
    static const uint8_t WIDTHS[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    const size_t width = WIDTHS[p[0] >> 4];
    return width < left ? width : left;
}

/* The longest user-defined symbol that a text begins with (of the first 64 on the way), 0 if none does. */
static inline size_t lf_sp_symbol(const lf_double_array *symbols, const uint8_t *p, size_t n) {
    enum { SYMBOLS_MOST = 64 };
    size_t longest = 0, n_symbols = 0;
    uint64_t node = symbols->root;
    for (size_t i = 0; i < n && n_symbols < SYMBOLS_MOST && lf_unit_step(symbols, &node, p[i]); i++)
        if (lf_unit_value(node) != LF_UNIT_NONE) longest = i + 1, n_symbols++;
    return longest;
}

#endif
