/* rewrite.c - normalizers of one character at a time; see rewrite.h. */
#include "text/rewrite.h"

static unsigned keep(uint32_t cp, int kept, uint32_t *to) { return to[0] = cp, (unsigned)kept; }

static unsigned lowercase(uint32_t cp, uint32_t *to) {
    to[0] = lf_lower_of(cp);
    to[1] = 0x307;
    return cp == 0x130 ? 2 : 1;
}

static unsigned nmt(uint32_t cp, uint32_t *to) {
    if ((cp >= 1 && cp <= 8) || cp == 0xB || (cp >= 0xE && cp <= 0x1F) || cp == 0x7F || cp == 0x8F || cp == 0x9F)
        return 0;
    const int space = cp == 9 || cp == 0xA || cp == 0xC || cp == 0xD || cp == 0x1680 ||
                      (cp >= 0x200B && cp <= 0x200F) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 || cp == 0xFEFF ||
                      cp == 0xFFFD;
    return to[0] = space ? ' ' : cp, 1;
}

unsigned lf_rewritten(lf_rewriting rewriting, uint32_t cp, uint32_t *to) {
    switch (rewriting) {
    case LF_LOWERCASE: return lowercase(cp, to);
    case LF_STRIP_ACCENTS: return keep(cp, !(lf_traits_of(cp) & LF_MARK_9), to);
    case LF_STRIP_NONSPACING: return keep(cp, !(lf_traits_of(cp) & LF_NONSPACING_8), to);
    case LF_CLEAN: return keep(lf_is_space(cp) ? ' ' : cp, !lf_is_dirt(cp), to);
    case LF_SPACE_IDEOGRAPHS:
        if (!lf_is_ideograph(cp)) return to[0] = cp, 1;
        return to[0] = ' ', to[1] = cp, to[2] = ' ', 3;
    case LF_NMT: return nmt(cp, to);
    default: return to[0] = cp, 1;
    }
}

size_t lf_rewrite(lf_rewriting rewriting, const uint8_t *restrict text, size_t n, uint8_t *restrict out,
                  int64_t *restrict from) {
    size_t n_out = 0;
    for (size_t at = 0; at < n;) {
        uint32_t cp, to[3];
        const size_t start = at;
        at += lf_utf8_read(text + at, text + n, &cp);
        if (cp == LF_NO_CHARACTER) cp = LF_RAW_BYTE + text[start];
        const unsigned n_to = lf_rewritten(rewriting, cp, to);
        for (unsigned i = 0; i < n_to; i++) {
            const unsigned length = lf_utf8_write(to[i], out + n_out);
            if (from)
                for (unsigned k = 0; k < length; k++) from[n_out + k] = (int64_t)start;
            n_out += length;
        }
    }
    return n_out;
}

void lf_strip(const uint8_t *text, size_t *start, size_t *stop, int left, int right) {
    uint32_t cp;
    while (left && *start < *stop) {
        const unsigned length = lf_utf8_read(text + *start, text + *stop, &cp);
        if (!lf_is_space(cp)) break;
        *start += length;
    }
    while (right && *start < *stop) {
        const size_t before = *start + lf_utf8_before(text + *start, *stop - *start);
        lf_utf8_read(text + before, text + *stop, &cp);
        if (!lf_is_space(cp)) break;
        *stop = before;
    }
}
