/* sentences.h - from lines of text to the words that training of sentencepiece models sees.
 *
 * Each line that is not empty, not too long and has no U+2585 is normalized; in it, each piece that has a meaning of its own
 * (control symbols, user-defined ones, <unk>) becomes U+001F, which is in no piece; then it is cut into words at the markers
 * of white space. The words of a line are all of it.
 *
 * Source: LoadSentences and SplitIntoWords of sentencepiece 0.2.3. Time and memory: linear. */
#ifndef LF_TEXT_SENTENCES_H
#define LF_TEXT_SENTENCES_H

#include "lf.h"
#include "text/sp_normalizer.h"

typedef struct {
    const lf_sp_normalizer *normalizer;
    const lf_double_array *marks; /* the pieces that are replaced; NULL: none */
    size_t max_bytes;             /* longer lines are left out */
    int split_by_whitespace;      /* 0: a line is a word */
    int spaces_last;              /* a word ends with its marker instead of beginning with it */
    int spaces_alone;             /* several markers stay together */
    int mark_ends;                /* the last word of a line gets a newline behind it */
} lf_sentences_rules;

/* The words: word i is text.bytes[offsets[i] .. offsets[i + 1]). Begins as zeros; offsets are NULL before the first word. */
typedef struct {
    lf_sp_text text, line;
    int64_t *offsets;
    size_t n_words, room;
    size_t n_lines, n_empty; /* that were not left out; of which nothing is left after normalization */
} lf_sentences;

/* Appends the words of the lines in text[start .. stop). */
lf_status lf_sentences_split(lf_sentences *words, const lf_sentences_rules *rules, const uint8_t *text, size_t start,
                             size_t stop);
void lf_sentences_free(lf_sentences *words);

#endif
