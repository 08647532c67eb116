/* sentences.c - see sentences.h. */
#define _GNU_SOURCE /* memmem */
#include "text/sentences.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t MARKER[3] = {0xE2, 0x96, 0x81}, UNKNOWN[3] = {0xE2, 0x96, 0x85};
enum { BOUNDARY = 0x1F };

static lf_status end_word(lf_sentences *words, size_t end) {
    if (words->n_words + 1 >= words->room) {
        const size_t room = words->room + words->room / 2 + 1024;
        int64_t *offsets = realloc(words->offsets, room * sizeof *offsets);
        if (!offsets) return LF_ENOMEM;
        words->offsets = offsets;
        words->room = room;
        offsets[0] = 0;
    }
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
        const size_t before = at;
        while (at < n && text[at] != MARKER[0]) at++;
        was_space &= at == before;
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

/* Appends a normalized line with its marks replaced; `begins` says which bytes these begin with. */
static lf_status replace(lf_sentences *words, const lf_sentences_rules *rules, const uint8_t *begins) {
    const lf_sp_text *line = &words->line;
    lf_sp_text *text = &words->text;
    if (text->room < text->n + line->n + 1) { /* a newline may come behind */
        const size_t room = (text->n + line->n) * 3 / 2 + 4096;
        uint8_t *bytes = realloc(text->bytes, room);
        if (!bytes) return LF_ENOMEM;
        text->bytes = bytes;
        text->room = room;
    }
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
        const size_t begin = words->text.n;
        lf_status status = lf_sp_normalize(rules->normalizer, line, n, &words->line);
        if (status == LF_OK) status = replace(words, rules, begins);
        if (status == LF_OK) status = split(words, rules, begin);
        if (status != LF_OK) return status;
        words->n_lines++;
        words->n_empty += words->text.n == begin;
        if (rules->mark_ends && words->text.n > begin) {
            words->text.bytes[words->text.n++] = '\n';
            words->offsets[words->n_words]++;
        }
    }
    return LF_OK;
}

void lf_sentences_free(lf_sentences *words) {
    lf_sp_text_free(&words->text);
    lf_sp_text_free(&words->line);
    free(words->offsets);
}
