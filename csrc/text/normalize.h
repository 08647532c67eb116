/* normalize.h - Unicode normalization form C of text in UTF-8.
 *
 * A text is cut at boundaries: characters that neither reorder nor compose with anything before them. What lies between
 * two boundaries, a segment, normalizes independently of the rest. Nearly all text is in NFC already; one pass of the
 * quick check finds how far, by eight bytes a step below U+0300, and only the segments where it cannot tell are
 * decomposed, ordered and composed.
 *
 * Exactness: NFC of Unicode 9.0, the version of tokenizers 0.23.3 (characters assigned later are left as they are and
 * combine with nothing). A byte that is not UTF-8 is a starter that composes with nothing and stays as it is.
 * Complexity: linear in n whatever the text; a run of marks is ordered by counting.
 * Memory: only the output; no scratch. Source: Unicode standard annex #15 and section 3.11. */
#ifndef LF_TEXT_NORMALIZE_H
#define LF_TEXT_NORMALIZE_H

#include "lf.h"

/* The length of the longest prefix of text[0 .. n) that the quick check knows to be in NFC, up to a boundary: n when it
 * can vouch for the whole. Then lf_nfc leaves that prefix as it is and normalizes the rest on its own. */
size_t lf_nfc_prefix(const uint8_t *text, size_t n);

/* Where the segment that begins at the boundary `at` < n ends: the next boundary, or n. */
size_t lf_nfc_next(const uint8_t *text, size_t n, size_t at);

/* The bytes that lf_nfc may write for n bytes: nothing grows more than threefold. */
static inline size_t lf_nfc_bound(size_t n) { return 3 * n; }

/* Writes the NFC of text[0 .. n) to out, which has room for lf_nfc_bound(n) bytes and does not overlap text, and
 * returns its length. */
size_t lf_nfc(const uint8_t *restrict text, size_t n, uint8_t *restrict out);

#endif
