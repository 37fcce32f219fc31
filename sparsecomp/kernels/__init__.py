"""TVMScript kernels. The row-panel family serves every linear layer and every convolution that is not depthwise.

Use of the family, for one weight::

    from sparsecomp.kernels.cost import WeightStats, predict
    from sparsecomp.kernels.problem import ConvProblem, Epilogue, LinearProblem
    from sparsecomp.kernels.row_panel import build, pack
    from sparsecomp.kernels.space import space

    problem = LinearProblem(tokens=None, in_features=768, out_features=3072, epilogue=Epilogue(bias=True))
    stats = WeightStats.of(weight)                  # or a number: the density of an unstructured weight
    schedules = space(problem, stats, target)       # best guess first; dense schedules are among them
    arrays = pack(weight, problem, schedules[0])    # weight is [out, in] or OIHW; float32 and integer numpy arrays
    func = build(problem, schedules[0])             # tirx.PrimFunc (x, *arrays, [bias], [residual], y)

- x and y: ``[tokens, features]`` or NCHW, row-major float32; bias ``[out]``; residual as y. y is written completely.
- ``tokens`` or ``batch`` None are symbolic: variables of the signature's shapes.
- The PrimFunc is scheduled already. It depends on problem and schedule only: weights of the same problem and schedule
  share it, since the sizes of packed arrays that depend on the zeros are variables of the signature too.
- ``predict(problem, stats, schedule, target)`` is the cost model: seconds a call.
- A schedule is a frozen dataclass of numbers (``sparsecomp.kernels.schedule``), ``__dict__`` is its JSON.
"""
