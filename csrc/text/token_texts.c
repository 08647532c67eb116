/* token_texts.c - see token_texts.h. */
#include "text/token_texts.h"

#include "text/utf8.h"

/* Whether the bytes that n tokens stand for are UTF-8. */
static int is_utf8(const uint16_t *kinds, const uint32_t *ids, size_t n) {
    for (size_t at = 0; at < n;) {
        uint8_t bytes[4] = {0};
        uint32_t cp;
        const size_t left = n - at < 4 ? n - at : 4;
        for (size_t i = 0; i < left; i++) bytes[i] = (uint8_t)kinds[ids[at + i]];
        at += lf_utf8_read(bytes, bytes + left, &cp);
        if (cp == LF_NO_CHARACTER) return 0;
    }
    return 1;
}

lf_status lf_token_texts(const uint16_t *restrict kinds, size_t n_ids, const uint32_t *restrict ids, size_t n,
                         uint32_t *restrict out, size_t *n_out, size_t *where) {
    size_t written = 0, run = 0; /* how many of the last ones are bytes */
    for (size_t i = 0; i <= n; i++) {
        const uint32_t id = i < n ? ids[i] : 0;
        if (LF_UNLIKELY(i < n && (id >= n_ids || kinds[id] == LF_TOKEN_NONE))) return *where = i, LF_EINDEX;
        const unsigned kind = i < n ? kinds[id] : LF_TOKEN_TEXT;
        /* What was written is looked at, not the ids, which another thread may change. */
        if (LF_UNLIKELY(run && kind < LF_TOKEN_BYTE)) {
            if (!is_utf8(kinds, out + written - run, run))
                for (size_t k = written - run; k < written; k++) out[k] = (uint32_t)n_ids;
            run = 0;
        }
        if (i == n) break;
        run += kind >= LF_TOKEN_BYTE;
        out[written] = id;
        written += kind != LF_TOKEN_EMPTY;
    }
    return *n_out = written, LF_OK;
}
