/* cross_entropy_body.h - the rows of cross_entropy.h, compiled once for each instruction set. */
#include "loss/row_double.h"

static lf_status rows(const lf_cross_entropy *job, size_t from, size_t to, void *scratch, size_t *where) {
    lf_status status = LF_OK;
    (void)scratch;
    for (size_t row = from; row < to; row++) {
        lf_row_target target = lf_row_target_of(job, row);
        if (LF_UNLIKELY(target.kind == LF_ROW_RAISES)) {
            if (status == LF_OK) *where = row;
            status = LF_EINDEX;
            continue;
        }
        lf_row_double(job, row, target);
    }
    return status;
}

#define LF_NAME_(isa) lf_cross_entropy_##isa
#define LF_NAME(isa) LF_NAME_(isa)
const lf_cross_entropy_ops LF_NAME(LF_ISA) = {LF_ISA_ID, rows};
