/* words.h - counting the pieces of a text: splitting and counting in one pass.
 *
 * An open-addressing table of 32-byte entries with linear probing, at most three quarters full. A short word is its own key:
 *
 *     | bytes 0..7 | bytes 8..14, length (1) | count | first |      up to 15 bytes, zeros after the word
 *     | hash       | place (7), 255 (1)      | count | first |      longer: the arena holds its length (8) and bytes
 *
 * `first` is the least position at which the word was seen. Tables filled by several threads from parts of one text merge
 * to the same words, counts and order as one table of the whole text, whoever counted which part.
 *
 * Complexity: linear in the text. Memory: 43 to 85 bytes a different word, and the bytes of the long ones. Exactness:
 * counts are 64 bits wide, and an overflow is an error. A table belongs to one thread at a time. */
#ifndef LF_TEXT_WORDS_H
#define LF_TEXT_WORDS_H

#include "lf.h"
#include "text/split.h"

typedef struct lf_words lf_words;

/* An empty table for the pieces of `split`. */
lf_status lf_words_new(lf_words **words, lf_isa isa, lf_split split, const lf_unicode *unicode);
void lf_words_free(lf_words *words);

/* Counts the pieces of documents, text[spans[2 i] .. spans[2 i + 1]). text[0] has the position `position`.
 * LF_EINDEX: span *where does not lie in the text of n bytes. */
lf_status lf_words_count(lf_words *words, const uint8_t *text, size_t n, const int64_t *spans, size_t n_spans,
                         uint64_t position, size_t *where);

/* Adds words that are counted already, word i being blob[offsets[i] .. offsets[i + 1]), first seen at firsts[i].
 * LF_EVALUE: counts[*where] is below 1, word *where is empty, or its count overflows. */
lf_status lf_words_add(lf_words *words, const uint8_t *blob, const int64_t *offsets, const int64_t *counts,
                       const uint64_t *firsts, size_t n_words, size_t *where);

/* Adds all of another table. LF_EVALUE: a count overflows. */
lf_status lf_words_merge(lf_words *words, const lf_words *other);

/* Forgets all words. */
void lf_words_clear(lf_words *words);

/* How many bytes the table takes. */
size_t lf_words_memory(const lf_words *words);

/* How many different words there are, and how many bytes they have. */
size_t lf_words_size(const lf_words *words, size_t *n_bytes);

/* Writes the words in the order in which they were first seen; the room needed is lf_words_size's, and one offset more. With
 * `ends`, room for LF_WORDS_PARTS numbers, the order is by parts first, which a word's hash chooses, the same in every table;
 * ends[i] is how many words there are in the parts up to i. */
enum { LF_WORDS_PARTS = 64 };
lf_status lf_words_export(const lf_words *words, uint8_t *blob, int64_t *offsets, int64_t *counts, uint64_t *firsts,
                          int64_t *ends);

/* Writes the words of another order: word i of `out` is word order[i], below n_words. out_offsets has room for n_words + 1. */
void lf_words_gather(const uint8_t *blob, const int64_t *offsets, const int64_t *order, size_t n_words, uint8_t *out,
                     int64_t *out_offsets);

/* The last place at which a text of n bytes may be cut so that the pieces of the parts are the pieces of the whole, whatever
 * comes before and after; 0 if there is none. It lies between a letter or number and what can belong to neither. */
size_t lf_words_cut(lf_split split, const lf_unicode *unicode, const uint8_t *text, size_t n);

/* The matches of \w+|[^\w\s]+ in text[start .. stop) from *at on, as pairs (start, stop), at most n_most; their number. *at is
 * where the search goes on, `stop` when there are no more. */
size_t lf_words_whitespace(const lf_unicode *unicode, const uint8_t *text, size_t stop, size_t *at, int64_t *spans,
                           size_t n_most);

/* The documents of a text between separators of n_separator > 0 bytes, found from the left, as pairs (start, stop), at most
 * n_most; *n_spans is their number. The last one reaches to the end of the text. Returns where it begins: the end of the
 * last separator found. */
size_t lf_words_spans(const uint8_t *text, size_t n, const uint8_t *separator, size_t n_separator, int64_t *spans,
                      size_t n_most, size_t *n_spans);

#endif
