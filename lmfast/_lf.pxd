"""csrc/lf.h, as every door sees it."""

cdef extern from "lf.h" nogil:
    ctypedef enum lf_status:
        LF_OK
        LF_ENOMEM
        LF_EINDEX
        LF_EVALUE
        LF_EUTF8
    ctypedef enum lf_isa:
        LF_N_ISA
    lf_isa lf_isa_best()
