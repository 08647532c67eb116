# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The door to csrc/loss: rows of numbers in, one kernel call without the GIL, a status out.

Rows are two-dimensional arrays of float32 or float64, or of uint16 that hold bfloat16 or float16 (`dtype` says which);
their columns must lie side by side, their rows may be any distance apart.
"""

from cpython.buffer cimport PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport size_t
from libc.stdint cimport SIZE_MAX, int64_t, uint8_t, uintptr_t
from libc.string cimport memset

import numpy as np

from lmfast import threads as _threads
from lmfast._lf cimport LF_EINDEX, LF_OK, lf_isa, lf_status
from lmfast.text import _text

cdef extern from "loss/float.h" nogil:
    ctypedef enum lf_float:
        LF_F32
        LF_F64
        LF_BF16
        LF_F16
    size_t lf_float_size(lf_float type)

cdef extern from "loss/team.h" nogil:
    ctypedef lf_status (*lf_team_rows)(const void *job, size_t first, size_t last, void *scratch, size_t *where)
    ctypedef struct lf_team:
        pass
    void lf_team_start(lf_team *team, lf_team_rows rows, const void *job, size_t n_rows, size_t n_threads,
                       uint8_t *scratch, size_t scratch_bytes)
    void lf_team_work(void *team)
    size_t lf_team_bad_row(lf_team *team)

cdef extern from "loss/softmax.h" nogil:
    ctypedef struct lf_softmax:
        lf_float dtype
        int log
        size_t n_rows
        size_t n_classes
        const void *x
        int64_t x_stride
        const void *g
        int64_t g_stride
        void *out
        int64_t out_stride
    ctypedef struct lf_softmax_ops:
        lf_team_rows rows
    size_t lf_softmax_scratch(const lf_softmax *job)
    const lf_softmax_ops *lf_softmax_ops_for(lf_isa isa)

cdef extern from "loss/cross_entropy.h" nogil:
    ctypedef enum lf_bad_label:
        pass
    ctypedef struct lf_cross_entropy:
        lf_float dtype
        size_t n_rows
        size_t n_classes
        const void *logits
        int64_t logits_stride
        const int64_t *target
        const void *soft
        int64_t soft_stride
        const void *weight
        int64_t ignore_index
        lf_bad_label on_bad_label
        double label_smoothing
        double z_loss
        double softcap
        double logit_scale
        void *gradient
        int64_t gradient_stride
        double scale
        const double *row_scale
        const double *d_lse
        const double *d_logprob
        const double *d_entropy
        double *loss
        double *lse
        double *logprob
        double *entropy
        uint8_t *correct
    ctypedef struct lf_cross_entropy_ops:
        lf_team_rows rows
    lf_status lf_cross_entropy_labels(const lf_cross_entropy *job, size_t *n_valid, double *divisor, size_t *where)
    size_t lf_cross_entropy_scratch(const lf_cross_entropy *job)
    const lf_cross_entropy_ops *lf_cross_entropy_ops_for(lf_isa isa)

cdef extern from *:
    """
    #include <sys/mman.h>
    static void advise_large(void *p, size_t n) {
    #ifdef MADV_HUGEPAGE
        uintptr_t page = 4096, from = ((uintptr_t)p + page - 1) / page * page, to = ((uintptr_t)p + n) / page * page;
        if (from < to) madvise((void *)from, to - from, MADV_HUGEPAGE);
    #endif
    }
    /* GOMP_parallel of the OpenMP runtime that torch has loaded; see lmfast/threads.py. */
    typedef void (*lf_gomp_parallel)(void (*)(void *), void *, unsigned, unsigned);
    static void run_team(uintptr_t parallel, lf_team *team, unsigned n_threads) {
        ((lf_gomp_parallel)parallel)(lf_team_work, team, n_threads, 0);
    }
    """
    void advise_large(void *p, size_t n) nogil
    void run_team(uintptr_t parallel, lf_team *team, unsigned n_threads) nogil

DTYPES = {"float32": <int>LF_F32, "float64": <int>LF_F64, "bfloat16": <int>LF_BF16, "float16": <int>LF_F16}
BAD_LABEL = {"raise": 0, "nan": 1, "ignore": 2}


cdef class _Rows:
    """A view of rows: their address, how many, how wide, how far apart. It holds the array."""
    cdef Py_buffer view
    cdef bint held
    cdef int64_t stride

    def __cinit__(self, array, str name, int dtype, bint writable, size_t n_rows=0, size_t n_columns=0):
        PyObject_GetBuffer(array, &self.view, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
        self.held = True
        size = <Py_ssize_t>lf_float_size(<lf_float>dtype)
        if self.view.ndim != 2 or self.view.itemsize != size:
            raise ValueError(f"{name}: want 2 dimensions of {size}-byte numbers, got {self.view.ndim} dimensions of "
                             f"{self.view.itemsize}-byte numbers")
        if n_columns and (self.view.shape[0] != <Py_ssize_t>n_rows or self.view.shape[1] != <Py_ssize_t>n_columns):
            raise ValueError(f"{name}: want shape ({n_rows}, {n_columns}), got "
                             f"({self.view.shape[0]}, {self.view.shape[1]})")
        if self.view.shape[1] > 1 and self.view.strides[1] != size:
            raise ValueError(f"{name}: want columns side by side, got a step of {self.view.strides[1]} bytes")
        if self.view.shape[0] > 1 and self.view.strides[0] % size:
            raise ValueError(f"{name}: want rows whole numbers apart, got a step of {self.view.strides[0]} bytes")
        if <uintptr_t>self.view.buf % <size_t>size:
            raise ValueError(f"{name}: want memory aligned to {size} bytes")
        self.stride = self.view.strides[0] // size

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef class CrossEntropy:
    """Rows of logits, their targets and the options: what the fields of `lf_cross_entropy` mean, by name.

    `run` may be called again and again; each call may want other results.
    """
    cdef lf_cross_entropy job
    cdef _Rows logits
    cdef object kept
    cdef const lf_cross_entropy_ops *ops

    def __init__(self, logits not None, int dtype, const int64_t[::1] target, soft=None, weight=None,
                 int64_t ignore_index=-100, int on_bad_label=0, double label_smoothing=0.0, double z_loss=0.0,
                 double softcap=0.0, double logit_scale=1.0, str isa=None):
        cdef _Rows soft_rows
        cdef const double[::1] doubles
        cdef const float[::1] floats
        self.ops = lf_cross_entropy_ops_for(<lf_isa><int>_text.ISA_NAMES.index(isa or _text.isa_best()))
        memset(&self.job, 0, sizeof(self.job))
        self.logits = _Rows(logits, "logits", dtype, False)
        job = &self.job
        job.dtype = <lf_float>dtype
        job.n_rows, job.n_classes = self.logits.view.shape[0], self.logits.view.shape[1]
        job.logits, job.logits_stride = self.logits.view.buf, self.logits.stride
        if job.n_rows and not job.n_classes:
            raise ValueError("logits: want at least 1 class, got 0")
        if (target is None) == (soft is None):
            raise ValueError("want either labels or soft targets")
        if target is not None:
            if target.shape[0] != <Py_ssize_t>job.n_rows:
                raise ValueError(f"target: want shape ({job.n_rows},), got ({target.shape[0]},)")
            job.target = &target[0] if job.n_rows else NULL
        else:
            soft_rows = _Rows(soft, "soft targets", dtype, False, job.n_rows, job.n_classes)
            job.soft, job.soft_stride = soft_rows.view.buf, soft_rows.stride
            soft = soft_rows
        if weight is not None:
            if weight.shape[0] != <Py_ssize_t>job.n_classes:
                raise ValueError(f"weight: want shape ({job.n_classes},), got ({weight.shape[0]},)")
            if dtype == LF_F64:
                doubles = weight
                job.weight = &doubles[0]
            else:
                floats = weight
                job.weight = &floats[0]
        self.kept = (target, soft, weight)
        job.ignore_index, job.on_bad_label = ignore_index, <lf_bad_label>on_bad_label
        job.label_smoothing, job.z_loss = label_smoothing, z_loss
        job.softcap, job.logit_scale = softcap, logit_scale

    def count(self):
        """(how many rows are not ignored, the sum of their weights); IndexError for a label out of range."""
        cdef size_t n_valid = 0, where = 0
        cdef double divisor = 0.0
        cdef lf_status status = LF_OK
        if self.job.n_rows:
            with nogil:
                status = lf_cross_entropy_labels(&self.job, &n_valid, &divisor, &where)
        if status == LF_EINDEX:
            self._raise(where)
        return n_valid, divisor

    def run(self, double[::1] loss=None, double[::1] lse=None, double[::1] logprob=None, double[::1] entropy=None,
            uint8_t[::1] correct=None, gradient=None, double scale=1.0, const double[::1] row_scale=None,
            const double[::1] d_lse=None, const double[::1] d_logprob=None, const double[::1] d_entropy=None,
            int n_threads=1):
        """Fills the arrays that are given, one number a row, and the gradient if there is one (see cross_entropy.h)."""
        cdef lf_cross_entropy job = self.job
        cdef _Rows gradient_rows = None
        cdef size_t bad
        if job.n_rows == 0:
            return
        for name, array in (("loss", loss), ("lse", lse), ("logprob", logprob), ("entropy", entropy),
                            ("correct", correct), ("row_scale", row_scale), ("d_lse", d_lse), ("d_logprob", d_logprob),
                            ("d_entropy", d_entropy)):
            if array is not None and array.shape[0] != <Py_ssize_t>job.n_rows:
                raise ValueError(f"{name}: want shape ({job.n_rows},), got ({array.shape[0]},)")
        if loss is not None: job.loss = &loss[0]
        if lse is not None: job.lse = &lse[0]
        if logprob is not None: job.logprob = &logprob[0]
        if entropy is not None: job.entropy = &entropy[0]
        if correct is not None: job.correct = &correct[0]
        if gradient is not None:
            gradient_rows = _Rows(gradient, "gradient", job.dtype, True, job.n_rows, job.n_classes)
            job.gradient, job.gradient_stride = gradient_rows.view.buf, gradient_rows.stride
        job.scale = scale
        if row_scale is not None: job.row_scale = &row_scale[0]
        if d_lse is not None: job.d_lse = &d_lse[0]
        if d_logprob is not None: job.d_logprob = &d_logprob[0]
        if d_entropy is not None: job.d_entropy = &d_entropy[0]

        bad = _run(self.ops.rows, &job, job.n_rows, lf_cross_entropy_scratch(&job), n_threads)
        if bad != SIZE_MAX:
            self._raise(bad)

    def _raise(self, size_t row):
        raise IndexError(f"target[{row}] = {self.job.target[row]} is outside [0, {self.job.n_classes}) and is not "
                         f"ignore_index = {self.job.ignore_index}")


def softmax(x not None, int dtype, out not None, g=None, bint log=False, int n_threads=1, str isa=None):
    """Fills `out` with the softmax of the rows of `x`, or with `g` with the gradient (see softmax.h). `out` may be `x` or `g`."""
    cdef lf_softmax job
    cdef _Rows x_rows = _Rows(x, "x", dtype, False), g_rows = None, out_rows
    cdef const lf_softmax_ops *ops = lf_softmax_ops_for(<lf_isa><int>_text.ISA_NAMES.index(isa or _text.isa_best()))
    memset(&job, 0, sizeof(job))
    job.dtype, job.log = <lf_float>dtype, log
    job.n_rows, job.n_classes = x_rows.view.shape[0], x_rows.view.shape[1]
    if job.n_rows == 0 or job.n_classes == 0:
        return
    job.x, job.x_stride = x_rows.view.buf, x_rows.stride
    out_rows = _Rows(out, "out", dtype, True, job.n_rows, job.n_classes)
    job.out, job.out_stride = out_rows.view.buf, out_rows.stride
    if g is not None:
        g_rows = _Rows(g, "g", dtype, False, job.n_rows, job.n_classes)
        job.g, job.g_stride = g_rows.view.buf, g_rows.stride
    _run(ops.rows, &job, job.n_rows, lf_softmax_scratch(&job), n_threads)


cdef class _Work:
    """What each thread of a pool does."""
    cdef lf_team *team

    def __call__(self):
        with nogil:
            lf_team_work(self.team)


cdef size_t _run(lf_team_rows rows, const void *job, size_t n_rows, size_t scratch_bytes, int threads) except? 0:
    """The rows of a job by a team of threads: torch's where there are any, else those of lmfast.threads."""
    cdef lf_team team
    cdef size_t n_threads = min(<size_t>max(1, threads), n_rows)
    cdef uint8_t[::1] scratch = np.empty(scratch_bytes * n_threads + 64, np.uint8)
    cdef uintptr_t parallel
    lf_team_start(&team, rows, job, n_rows, n_threads, &scratch[(64 - <uintptr_t>&scratch[0] % 64) % 64], scratch_bytes)
    if n_threads == 1:
        with nogil:
            lf_team_work(&team)
        return lf_team_bad_row(&team)
    parallel = _threads.openmp()
    if parallel:
        with nogil:
            run_team(parallel, &team, <unsigned>n_threads)
    else:
        work = _Work.__new__(_Work)
        (<_Work>work).team = &team
        _threads.run([work for _ in range(<int>n_threads)], <int>n_threads)
    return lf_team_bad_row(&team)


def advise_large_pages(rows, int dtype):
    """Asks the system for large pages under rows that are to be written for the first time: far fewer page faults."""
    cdef _Rows room = _Rows(rows, "rows", dtype, True)
    with nogil:
        advise_large(room.view.buf, <size_t>room.view.len)
