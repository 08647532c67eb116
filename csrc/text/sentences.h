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

typedef enum {
    LF_BEHIND_NOTHING,
    LF_BEHIND_ENDS, /* a newline behind the last word of a line                                                   */
    LF_BEHIND_NEXT, /* a newline and the first character of the next word; last words are in `ends` only          */
} lf_sentences_behind;

typedef struct {
    const lf_sp_normalizer *normalizer;
    const lf_double_array *marks; /* the pieces that are replaced; NULL: none */
    size_t max_bytes;             /* longer lines are left out */
    int split_by_whitespace;      /* 0: a line is a word */
    int spaces_last;              /* a word ends with its marker instead of beginning with it */
    int spaces_alone;             /* several markers stay together */
    lf_sentences_behind behind;   /* what is written behind words */
} lf_sentences_rules;

/* The words: word i is text.bytes[offsets[i] .. offsets[i + 1]). Begins as zeros; offsets are NULL before the first word. */
typedef struct {
    lf_sp_text text, line;
    lf_sp_text ends; /* where anything is, of each line its first character, its last word and a newline */
    int64_t *offsets;
    size_t n_words, room;
    size_t n_lines; /* that were not left out, those of which nothing is left after normalization among them */
} lf_sentences;

/* Appends the words of the lines in text[start .. stop). */
lf_status lf_sentences_split(lf_sentences *words, const lf_sentences_rules *rules, const uint8_t *text, size_t start,
                             size_t stop);
void lf_sentences_free(lf_sentences *words);

#endif
