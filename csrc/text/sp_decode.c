/* sp_decode.c - see sp_decode.h. */
#include "text/sp_decode.h"

#include <string.h>

#include "text/piece_kinds.h"
#include "text/utf8.h"

static const uint8_t MARKER[3] = {0xE2, 0x96, 0x81}, REPLACEMENT[3] = {0xEF, 0xBF, 0xBD};

static size_t length_of(const lf_sp *m, uint32_t id) {
    return (size_t)(m->parts.offsets[id + 1] - m->parts.offsets[id]);
}

lf_status lf_sp_decode_bound(const lf_sp *m, const lf_sp_surface *surface, const uint32_t *ids, size_t n,
                             size_t *n_bytes, size_t *where) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= m->parts.n_ids || m->parts.kinds[ids[i]] == LF_NO_PIECE) return *where = i, LF_EINDEX;
        total += m->parts.kinds[ids[i]] == LF_UNKNOWN ? surface->n_unknown : length_of(m, ids[i]);
    }
    return *n_bytes = total, LF_OK; /* a piece of a byte is longer than U+FFFD */
}

static uint8_t hex(uint8_t digit) { return digit <= '9' ? digit - '0' : digit - 'A' + 10; }

/* The characters that a run of bytes spells, in place: U+FFFD is longer than a byte, but a piece of a byte is longer yet,
 * so the bytes are first moved to the end of the room that their pieces have. */
static size_t spell(uint8_t *out, const uint8_t *bytes, size_t n) {
    size_t n_out = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        const unsigned width = lf_utf8_read(bytes + i, bytes + n, &c);
        if (c == LF_NO_CHARACTER) memcpy(out + n_out, REPLACEMENT, 3), n_out += 3;
        else memmove(out + n_out, bytes + i, width), n_out += width;
        i += width;
    }
    return n_out;
}

/* Copies a piece with spaces for markers. */
static size_t copy(uint8_t *out, const uint8_t *p, size_t n) {
    size_t n_out = 0;
    for (size_t i = 0; i < n;) {
        const int marker = n - i >= 3 && !memcmp(p + i, MARKER, 3);
        out[n_out++] = marker ? ' ' : p[i];
        i += marker ? 3 : 1;
    }
    return n_out;
}

size_t lf_sp_decode(const lf_sp *m, const lf_sp_surface *surface, const uint32_t *ids, size_t n, uint8_t *out,
                    size_t room) {
    const int strips = surface->add_dummy_prefix || surface->remove_extra_whitespaces;
    size_t n_out = 0;
    int at_begin = 1;
    for (size_t i = 0; i < n;) {
        const uint32_t id = ids[i];
        if (id >= m->parts.n_ids) break;
        const uint8_t kind = m->parts.kinds[id], *p = m->parts.blob + m->parts.offsets[id];
        const size_t n_piece = length_of(m, id);
        if (kind == LF_BYTE) {
            size_t run = i;
            while (run < n && ids[run] < m->parts.n_ids && m->parts.kinds[ids[run]] == LF_BYTE) run++;
            const size_t n_run = run - i;
            if (room - n_out < 6 * n_run) break;
            uint8_t *bytes = out + n_out + 5 * n_run;
            for (size_t k = 0; k < n_run; k++) {
                const uint8_t *name = m->parts.blob + m->parts.offsets[ids[i + k]];
                bytes[k] = (uint8_t)(hex(name[3]) << 4 | hex(name[4]));
            }
            n_out += spell(out + n_out, bytes, n_run);
            i = run;
            continue;
        }
        i++;
        if (n_out) at_begin = 0;
        if (kind == LF_CONTROL) continue;
        const size_t n_most = kind == LF_UNKNOWN ? surface->n_unknown : n_piece;
        if (room - n_out < n_most) break;
        if (kind == LF_UNKNOWN) {
            memcpy(out + n_out, surface->unknown, n_most);
            n_out += n_most;
            continue;
        }
        const size_t skip = at_begin && strips && n_piece >= 3 && !memcmp(p, MARKER, 3) ? 3 : 0;
        n_out += copy(out + n_out, p + skip, n_piece - skip);
        if (skip && !surface->remove_extra_whitespaces) at_begin = 0;
    }
    return n_out;
}
