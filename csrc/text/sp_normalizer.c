/* sp_normalizer.c - see sp_normalizer.h. */
#include "text/sp_normalizer.h"

#include <stdlib.h>
#include <string.h>

#include "text/utf8.h"

static const uint8_t REPLACEMENT[] = {0xEF, 0xBF, 0xBD}; /* U+FFFD */

void lf_sp_normalizer_init(lf_sp_normalizer *z, const lf_charsmap *charsmap, const lf_double_array *symbols,
                           lf_sp_options options) {
    memset(z, 0, sizeof *z);
    z->charsmap = charsmap, z->symbols = symbols, z->options = options;
    z->n_marker = options.escape_whitespaces ? 3 : 1;
    memcpy(z->marker, options.escape_whitespaces ? "\xE2\x96\x81" : " ", z->n_marker);
    for (unsigned b = 0; b < 128; b++) {
        uint64_t node = symbols ? symbols->root : 0;
        const uint8_t byte = (uint8_t)b, *to;
        if (b == ' ' || (symbols && lf_unit_step(symbols, &node, byte))) continue;
        if (!charsmap || !charsmap->begins[b]) z->plain[b] = 2;
        else z->plain[b] = !lf_charsmap_match(charsmap, &byte, 1, &to);
    }
    if (charsmap) memcpy(z->inside, charsmap->inside, sizeof z->inside);
}

/* Room for n more bytes. */
static int reserve(lf_sp_text *out, size_t n) {
    if (LF_UNLIKELY(out->n + n + 1 > out->room)) {
        const size_t room = 2 * (out->n + n) + 64;
        uint8_t *bytes = realloc(out->bytes, room);
        if (!bytes) return 0;
        out->bytes = bytes, out->room = room;
    }
    if (out->traced && LF_UNLIKELY(out->n + n + 1 > out->origins_room)) {
        const size_t room = 2 * (out->n + n) + 64;
        size_t *origins = realloc(out->origins, room * sizeof *origins);
        if (!origins) return 0;
        out->origins = origins, out->origins_room = room;
    }
    return 1;
}

/* For bytes that there is room for. */
static void append(lf_sp_text *out, const uint8_t *p, size_t n, size_t origin) {
    memcpy(out->bytes + out->n, p, n);
    if (out->traced)
        for (size_t i = 0; i < n; i++) out->origins[out->n + i] = origin;
    out->n += n;
}

/* Bytes that stay as they are, each from its own place. */
static int append_plain(lf_sp_text *out, const uint8_t *p, size_t n, size_t origin) {
    if (!reserve(out, n)) return 0;
    memcpy(out->bytes + out->n, p, n);
    if (out->traced)
        for (size_t i = 0; i < n; i++) out->origins[out->n + i] = origin + i;
    out->n += n;
    return 1;
}

/* Where the characters that stay as they are end, from `at` on. */
static size_t plain_end(const lf_sp_normalizer *z, const uint8_t *text, size_t n, size_t at) {
    while (at < n) {
        const uint8_t byte = text[at];
        size_t next = at + 1;
        if (LF_UNLIKELY(byte >= 0x80)) {
            uint32_t c;
            if (!z->charsmap && !z->symbols) { /* without rules all that are well-formed stay */
                next = at + lf_utf8_read(text + at, text + n, &c);
                if (c == LF_NO_CHARACTER) break;
                at = next;
                continue;
            }
            if ((byte & 0xE0) != 0xC0 || next == n || (text[next] ^ 0x80u) > 63) break;
            if (!(z->plain_2[byte & 31] >> (text[next++] & 63) & 1)) break;
        } else if (!z->plain[byte]) break;
        if (next < n && z->plain[byte] < 2 && z->inside[text[next]]) break;
        at = next;
    }
    return at;
}

/* What a text begins with and what becomes of it. Returns the bytes it takes from the text. */
static size_t next_step(const lf_sp_normalizer *z, const uint8_t *p, size_t n, const uint8_t **to, size_t *n_to) {
    size_t taken = z->symbols ? lf_sp_symbol(z->symbols, p, n) : 0;
    *to = p;
    if (!taken && z->charsmap && (taken = lf_charsmap_match(z->charsmap, p, n, to)))
        return *n_to = strlen((const char *)*to), taken;
    if (!taken) {
        uint32_t c;
        taken = lf_utf8_read(p, p + n, &c);
        if (c == LF_NO_CHARACTER) return *to = REPLACEMENT, *n_to = sizeof REPLACEMENT, taken;
    }
    return *n_to = taken;
}

lf_status lf_sp_mark(const lf_sp_normalizer *z, size_t at, lf_sp_text *out) {
    if (!reserve(out, z->n_marker)) return LF_ENOMEM;
    append(out, z->marker, z->n_marker, at);
    return LF_OK;
}

lf_status lf_sp_normalize_part(const lf_sp_normalizer *z, const uint8_t *text, size_t n, size_t at, int *after_space,
                               lf_sp_text *out) {
    for (size_t i = 0; i < n;) {
        const size_t run = plain_end(z, text, n, i);
        if (run > i) {
            if (!append_plain(out, text + i, run - i, at + i)) return LF_ENOMEM;
            *after_space = 0, i = run;
            continue;
        }
        const uint8_t *to;
        size_t skip = 0, n_to;
        const size_t taken = next_step(z, text + i, n - i, &to, &n_to);
        while (*after_space && skip < n_to && to[skip] == ' ') skip++;
        if (!reserve(out, z->n_marker * n_to)) return LF_ENOMEM;
        for (size_t k = skip; k < n_to; k++)
            if (to[k] == ' ') append(out, z->marker, z->n_marker, at + i);
            else append(out, to + k, 1, at + i);
        if (skip < n_to) *after_space = to[n_to - 1] == ' ';
        if (!z->options.remove_extra_whitespaces) *after_space = 0;
        i += taken;
    }
    return LF_OK;
}

int lf_sp_ends_with_marker(const lf_sp_normalizer *z, const lf_sp_text *out) {
    return out->n >= z->n_marker && !memcmp(out->bytes + out->n - z->n_marker, z->marker, z->n_marker);
}

lf_status lf_sp_normalize(const lf_sp_normalizer *z, const uint8_t *text, size_t n, lf_sp_text *out) {
    const int trim = z->options.remove_extra_whitespaces, dummy = z->options.add_dummy_prefix;
    size_t start = 0, n_to, taken;
    const uint8_t *to;
    out->n = 0;
    if (!reserve(out, 0)) return LF_ENOMEM;
    if (out->traced) out->origins[0] = 0;
    while (trim && start < n && (taken = next_step(z, text + start, n - start, &to, &n_to), n_to == 1 && *to == ' '))
        start += taken;
    if (start == n) return LF_OK;
    if (dummy && !z->options.treat_whitespace_as_suffix && lf_sp_mark(z, start, out) != LF_OK) return LF_ENOMEM;
    int after_space = trim;
    size_t end = n;
    if (lf_sp_normalize_part(z, text + start, n - start, start, &after_space, out) != LF_OK) return LF_ENOMEM;
    while (trim && lf_sp_ends_with_marker(z, out)) {
        out->n -= z->n_marker;
        if (out->traced) end = out->origins[out->n];
    }
    if (dummy && z->options.treat_whitespace_as_suffix && lf_sp_mark(z, end, out) != LF_OK) return LF_ENOMEM;
    if (!reserve(out, 0)) return LF_ENOMEM;
    if (out->traced) out->origins[out->n] = end;
    return LF_OK;
}

void lf_sp_text_free(lf_sp_text *text) {
    free(text->bytes), free(text->origins);
    memset(text, 0, sizeof *text);
}
