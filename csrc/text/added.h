/* added.h - added tokens: strings that become one id before the model sees the text.
 *
 * Matches are the leftmost, of those the longest; they do not overlap. A token may ask that no word character stands
 * beside it (single_word) - a match that fails is passed over whole - and may take the white space before or after it
 * (lstrip, rstrip) along.
 *
 * Complexity: linear in the text times the longest token in the worst case; a bitmap of the tokens' first two bytes
 * passes over most text at two bytes a look. Exactness: tokenizers 0.23.3. */
#ifndef LF_TEXT_ADDED_H
#define LF_TEXT_ADDED_H

#include "lf.h"
#include "text/trie.h"
#include "text/unicode.h"

enum { LF_ADDED_SPECIAL = 1, LF_ADDED_SINGLE_WORD = 2, LF_ADDED_LSTRIP = 4, LF_ADDED_RSTRIP = 8 };

typedef struct {
    lf_trie trie; /* values are token numbers */
    uint32_t *ids;
    uint8_t *flags;
    size_t n_tokens, n_plain; /* plain: not special */
    uint8_t first_two[8192];  /* a set bit: some token begins with these two bytes (first byte high) */
    uint8_t first_byte[256];  /* 1: some token begins with this byte */
    uint8_t single_byte[256]; /* 1: this byte alone is a token       */
} lf_added;

/* A found token: text [start, stop) becomes `id`. The search for the next goes on at `resume`, which may lie before
 * `stop`: tokens may begin in the white space that rstrip took, and what follows them is text again. All zero at first. */
typedef struct {
    size_t start, stop, resume;
    size_t space_from, space_to; /* the white space that rstrip looked over last, so that it need not again */
    uint32_t id;
} lf_added_match;

/* Token t is blob[offsets[t] .. offsets[t + 1]), not empty. LF_EVALUE: token *where is given twice. */
lf_status lf_added_new(lf_added **added, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                       const uint8_t *flags, size_t n_tokens, size_t *where);
void lf_added_free(lf_added *added);

/* The next match at or after `from`; `done` is the end of the one before it (0 at first), which bounds lstrip. `allowed`
 * has a bit for each token number; special tokens without it are plain text; NULL allows none.
 * Returns 0 if there is no more. */
int lf_added_next(const lf_added *added, const lf_unicode *unicode, const uint8_t *text, size_t n, size_t from,
                  size_t done, const uint8_t *allowed, lf_added_match *match);

#endif
