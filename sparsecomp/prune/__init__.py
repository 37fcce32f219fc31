"""Making zeros: scores say which weights matter least, patterns where zeros may stand, budgets how many a layer gets.

    from sparsecomp.prune.run import prune_model

The modules, lowest first: ``weights`` (what can be pruned), ``data`` and ``observe`` (calibration), ``patterns``,
``budgets``, ``scores``, ``groups`` (channels, heads and neurons that go together), ``repair``, ``masks``, ``result``,
``run``, ``sensitivity``. Nothing here imports torch before one of them is imported.
"""
