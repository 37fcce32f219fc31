"""What TVM is told about threads, before its first parallel loop; the user's own settings stay."""

import os

from sparsecomp.targets.native import detect


def set_up_threads() -> None:
    """All cores work, each on whichever the operating system picks.

    Left alone, TVM takes half of the cores that it sees for hyper-threads of the others. It also binds each thread to a
    core but the one that calls: when that happens to be on another's core, the two share it for milliseconds while a
    core idles, since Linux does not move threads that are bound (a convolution of 0.38 ms took 0.38, 0.54 or 0.77).
    """
    os.environ.setdefault("TVM_NUM_THREADS", str(detect().cores))
    os.environ.setdefault("TVM_BIND_THREADS", "0")
