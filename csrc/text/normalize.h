/* normalize.h - the Unicode normalization forms of text in UTF-8.
 *
 * A text is cut at boundaries: characters that neither reorder nor compose with anything before them. What lies between
 * two boundaries, a segment, normalizes independently of the rest. Nearly all text is in NFC already; one pass of the
 * quick check finds how far, by eight bytes a step below the first character that the form changes, and only the
 * segments where it cannot tell are decomposed, ordered and, for the C forms, composed.
 *
 * Alignment. Every function takes `from`, NULL or room for one number a byte written: which byte of the input each byte
 * of the output stands for, -1 for none. A character keeps its own place; what a decomposition adds, and what marks
 * become that change places, follow tokenizers 0.23.3: written characters take the input's characters in order, as many
 * as began in them, and one in which none began stands for the last byte taken. So alignments compose by indexing.
 *
 * Exactness: Unicode 9.0, the version of tokenizers 0.23.3 (characters assigned later are left as they are and combine
 * with nothing). A byte that is not UTF-8 is a starter that composes with nothing and stays as it is.
 * Complexity: linear in n whatever the text; a run of marks is ordered by counting.
 * Memory: only the output; no scratch. Source: Unicode standard annex #15 and section 3.11. */
#ifndef LF_TEXT_NORMALIZE_H
#define LF_TEXT_NORMALIZE_H

#include "lf.h"
#include "text/unicode.h"

/* The length of the longest prefix of text[0 .. n) that the quick check knows to be in a form, up to a boundary: n when
 * it can vouch for the whole. Then lf_normalize leaves that prefix as it is and normalizes the rest on its own. */
size_t lf_form_prefix(lf_form form, const uint8_t *text, size_t n);

/* Where the segment that begins at the boundary `at` < n ends: the next boundary, or n. */
size_t lf_form_next(lf_form form, const uint8_t *text, size_t n, size_t at);

/* The bytes that lf_normalize may write for n bytes: U+0390 and U+FDFA grow most. */
static inline size_t lf_form_bound(lf_form form, size_t n) { return (form == LF_NFC || form == LF_NFD ? 3 : 11) * n; }

/* Writes the form of text[0 .. n) to out, which has room for lf_form_bound(form, n) bytes and does not overlap text, and
 * returns its length. */
size_t lf_normalize(lf_form form, const uint8_t *restrict text, size_t n, uint8_t *restrict out,
                    int64_t *restrict from);

/* The same for NFC, by name. */
static inline size_t lf_nfc_prefix(const uint8_t *text, size_t n) { return lf_form_prefix(LF_NFC, text, n); }
static inline size_t lf_nfc_next(const uint8_t *text, size_t n, size_t at) { return lf_form_next(LF_NFC, text, n, at); }
static inline size_t lf_nfc_bound(size_t n) { return lf_form_bound(LF_NFC, n); }
static inline size_t lf_nfc(const uint8_t *restrict text, size_t n, uint8_t *restrict out) {
    return lf_normalize(LF_NFC, text, n, out, NULL);
}

#endif
