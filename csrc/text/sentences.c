/* sentences.c - see sentences.h. */
#define _GNU_SOURCE /* memmem */
#include "text/sentences.h"

#include <stdlib.h>
#include <string.h>

#include "text/pages.h"

static const uint8_t MARKER[3] = {0xE2, 0x96, 0x81}, UNKNOWN[3] = {0xE2, 0x96, 0x85};
enum { BOUNDARY = 0x1F };

static lf_status end_word(lf_sentences *words, size_t end) {
    if (!lf_grow(&words->offsets, &words->room, (words->n_words + 2) * sizeof *words->offsets)) return LF_ENOMEM;
    words->offsets[0] = 0;
    words->offsets[++words->n_words] = (int64_t)end;
    return LF_OK;
}

/* Cuts text[start .. n) into words. */
static lf_status split(lf_sentences *words, const lf_sentences_rules *rules, size_t start) {
    const uint8_t *text = words->text.bytes;
    const size_t n = words->text.n;
    int was_space = 0;
    lf_status status = LF_OK;
    for (size_t at = start, width; at < n && rules->split_by_whitespace && status == LF_OK; at += width) {
        while (!was_space && at < n && text[at] != MARKER[0]) at++;
        if (at == n) break;
        const int is_space = n - at >= 3 && !memcmp(text + at, MARKER, 3);
        /* Where a run of markers may stand alone, it is cut from what it does not belong to, and never within. */
        const int begins = rules->spaces_last ? was_space && !(rules->spaces_alone && is_space)
                                              : is_space && !(rules->spaces_alone && was_space);
        if (begins && at > start) status = end_word(words, at);
        was_space = is_space;
        width = is_space ? 3 : 1;
    }
    return status == LF_OK && n > start ? end_word(words, n) : status;
}

static lf_status make_room(lf_sp_text *text, size_t more) {
    return lf_grow(&text->bytes, &text->room, text->n + more) ? LF_OK : LF_ENOMEM;
}

/* Appends a normalized line with its marks replaced; `begins` says which bytes these begin with. */
static lf_status replace(lf_sentences *words, const lf_sentences_rules *rules, const uint8_t *begins) {
    const lf_sp_text *line = &words->line;
    lf_sp_text *text = &words->text;
    const lf_status status = make_room(text, line->n + 1); /* a newline may come behind */
    if (status != LF_OK) return status;
    uint8_t *out = text->bytes + text->n;
    for (size_t at = 0; at < line->n;) {
        const size_t start = at;
        while (at < line->n && !begins[line->bytes[at]]) at++;
        memcpy(out, line->bytes + start, at - start);
        out += at - start;
        if (at == line->n) break;
        const size_t length = lf_sp_symbol(rules->marks, line->bytes + at, line->n - at);
        *out++ = length ? BOUNDARY : line->bytes[at];
        at += length ? length : 1;
    }
    text->n = (size_t)(out - text->bytes);
    return LF_OK;
}

static size_t first_character(const uint8_t *text, size_t n) {
    size_t width = 1;
    while (width < n && width < 4 && (text[width] & 0xC0) == 0x80) width++;
    return width;
}

/* Notes how the line ends whose words are those from `first` on. */
static lf_status note_end(lf_sentences *words, size_t begin, size_t first) {
    const size_t last = words->n_words > first ? (size_t)words->offsets[words->n_words - 1] : begin;
    const size_t n = words->text.n - last;
    lf_sp_text *ends = &words->ends;
    const lf_status status = make_room(ends, n + 5);
    if (status != LF_OK) return status;
    if (n) {
        const uint8_t *line = words->text.bytes + begin;
        const size_t width = first_character(line, words->text.n - begin);
        memcpy(ends->bytes + ends->n, line, width);
        memcpy(ends->bytes + ends->n + width, words->text.bytes + last, n);
        ends->n += width + n;
    }
    ends->bytes[ends->n++] = '\n';
    return LF_OK;
}

/* Takes the last word away; behind each other from `first` on comes a newline and what the next one begins with. */
static lf_status mark_next(lf_sentences *words, size_t first) {
    enum { MOST = 5 };
    const size_t n_marked = words->n_words - first - 1;
    const lf_status status = make_room(&words->text, MOST * n_marked);
    if (status != LF_OK) return status;
    uint8_t *bytes = words->text.bytes, next[MOST] = "\n";
    int64_t *at = words->offsets + first;
    size_t shift = 0, stop = (size_t)at[n_marked];
    for (size_t i = 0; i < n_marked; i++)
        shift += 1 + first_character(bytes + at[i + 1], words->text.n - (size_t)at[i + 1]);
    size_t width = 1 + first_character(bytes + stop, words->text.n - stop);
    memcpy(next + 1, bytes + stop, width - 1);
    words->text.n = stop + shift;
    words->n_words--;
    for (size_t i = n_marked; i-- > 0;) { /* from the last, since words move to the right */
        const size_t start = (size_t)at[i], n = stop - start, after = 1 + first_character(bytes + start, n);
        uint8_t character[MOST - 1];
        memcpy(character, bytes + start, after - 1);
        at[i + 1] = (int64_t)(stop + shift);
        shift -= width;
        memmove(bytes + start + shift, bytes + start, n);
        memcpy(bytes + stop + shift, next, width);
        memcpy(next + 1, character, after - 1);
        width = after;
        stop = start;
    }
    return LF_OK;
}

lf_status lf_sentences_split(lf_sentences *words, const lf_sentences_rules *rules, const uint8_t *text, size_t start,
                             size_t stop) {
    uint8_t begins[256];
    for (unsigned b = 0; b < 256; b++) {
        uint64_t node = rules->marks ? rules->marks->root : 0;
        begins[b] = rules->marks && lf_unit_step(rules->marks, &node, (uint8_t)b);
    }
    for (size_t at = start; at < stop;) {
        const uint8_t *line = text + at, *end = memchr(line, '\n', stop - at);
        const size_t n = end ? (size_t)(end - line) : stop - at;
        at += n + 1;
        if (n == 0 || n > rules->max_bytes || memmem(line, n, UNKNOWN, 3)) continue;
        const size_t begin = words->text.n, first = words->n_words;
        lf_status status = lf_sp_normalize(rules->normalizer, line, n, &words->line);
        if (status == LF_OK) status = replace(words, rules, begins);
        if (status == LF_OK) status = split(words, rules, begin);
        if (status == LF_OK && rules->behind) status = note_end(words, begin, first);
        if (status == LF_OK && rules->behind == LF_BEHIND_NEXT && words->n_words > first)
            status = mark_next(words, first);
        if (status != LF_OK) return status;
        words->n_lines++;
        if (rules->behind == LF_BEHIND_ENDS && words->text.n > begin) {
            words->text.bytes[words->text.n++] = '\n';
            words->offsets[words->n_words]++;
        }
    }
    return LF_OK;
}

void lf_sentences_free(lf_sentences *words) {
    lf_sp_text_free(&words->text);
    lf_sp_text_free(&words->line);
    lf_sp_text_free(&words->ends);
    free(words->offsets);
}
