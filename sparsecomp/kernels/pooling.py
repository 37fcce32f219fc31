"""Maximum and average over windows, and the mean of whole planes."""

from tvm import tirx

from sparsecomp.kernels.emit import splat
from sparsecomp.kernels.window_rows import WindowRows, applies
from sparsecomp.kernels.windows import Window, sweep
from sparsecomp.schedules.finish import finish
from sparsecomp.schedules.loops import (
    Dim,
    function,
    index,
    load,
    local,
    loop,
    parallel_where_it_pays,
    scratch,
    sequence,
    store,
    with_buffers,
)
from sparsecomp.schedules.rewrite import Expr, Stmt
from sparsecomp.targets.base import Target


def _inside(window: Window, axis: int, at: Expr) -> Expr:
    """How many of the window's positions at ``at`` lie inside of the plane."""
    size = (window.height, window.width)[axis]
    first = at * index(window.stride[axis]) - index(window.padding[axis])
    return tirx.min(first + index(window.size[axis]), index(size)) - tirx.max(first, index(0))


def _pool(window: Window, target: Target, name: str, start: float, maximum: bool, count_padding: bool) -> tirx.PrimFunc:
    x = scratch([window.batch, window.channels, window.height, window.width], "x")
    out = scratch([window.batch, window.channels, window.out_height, window.out_width], "out")
    padded = window.padding != (0, 0) and not count_padding

    def put(batch: Expr, channel: Expr, y: Expr, column: Expr, value: Expr) -> Stmt:
        if not maximum and padded:
            count = _inside(window, 0, y) * _inside(window, 1, column)
            value = value / count.astype("float32")
        elif not maximum:
            value = value * tirx.const(1 / (window.size[0] * window.size[1]), "float32")
        return store(out, [batch, channel, y, column], value)

    def combine(acc: Expr, value: Expr, _r: int, _s: int) -> Expr:
        return tirx.max(acc, value) if maximum else acc + value

    body = sweep(window, target, x, start, lambda _: tirx.const(start, "float32"), lambda _: combine, put)
    nest = parallel_where_it_pays(index(window.batch) * index(window.channels), body)
    return finish(function([x, out], nest, name), target).with_attr("tir.is_scheduled", True)


class _Rows(WindowRows):
    """The kernel (x, y) of small windows."""

    def declare(self) -> None:
        """No parameters but x and y."""

    def begin(self, _channel: Expr) -> None:
        self.start = splat(self.border, self.lanes)


class _Maximum(_Rows):
    name, border = "max_pool", float("-inf")

    def join(self, result: Expr, values: Expr, _row: int, _column: int) -> Expr:
        return tirx.max(result, values)

    def finish(self, result: Expr, _at: tuple[Expr, Expr], _like: tuple[int, int]) -> Expr:
        return result


class _Average(_Rows):
    name = "average_pool"

    def __init__(self, window: Window, target: Target, count_padding: bool) -> None:
        super().__init__(window, target)
        self.count_padding = count_padding

    def join(self, result: Expr, values: Expr, _row: int, _column: int) -> Expr:
        return result + values

    def finish(self, result: Expr, at: tuple[Expr, Expr], like: tuple[int, int]) -> Expr:
        rows, columns = self.window.size
        if self.count_padding or self.window.padding == (0, 0):
            return result * splat(1 / (rows * columns), self.lanes)
        inside = _inside(self.window, 0, index(like[0])).astype("float32")
        return result / (splat(inside, self.lanes) * self._columns_inside(at[1]))

    def _columns_inside(self, column: Expr) -> Expr:
        """For each lane the columns of its window that are not padding."""
        w, lanes = self.window, self.lanes
        first = tirx.Ramp(column * w.stride[1] - w.padding[1], w.stride[1], lanes)
        last = tirx.min(first + _whole(w.size[1], lanes), _whole(w.width, lanes))
        return tirx.Cast(f"float32x{lanes}", last - tirx.max(first, _whole(0, lanes)))


def _whole(value: int, lanes: int) -> Expr:
    return splat(tirx.const(value, "int32"), lanes)


def build_max_pool(window: Window, target: Target) -> tirx.PrimFunc:
    """The function (x, out): the maximum of each window."""
    if applies(window):
        return _Maximum(window, target).build()
    return _pool(window, target, "max_pool", float("-inf"), maximum=True, count_padding=False)


def build_average_pool(window: Window, target: Target, count_padding: bool = True) -> tirx.PrimFunc:
    """The function (x, out): the mean of each window, over its padding too or not."""
    if applies(window):
        return _Average(window, target, count_padding).build()
    return _pool(window, target, "average_pool", 0.0, maximum=False, count_padding=count_padding)


def build_global_mean(batch: Dim, channels: int, size: int, target: Target) -> tirx.PrimFunc:
    """The function (x [batch, channels, size], out [batch, channels])."""
    x, out = scratch([batch, channels, size], "x"), scratch([batch, channels], "out")

    def plane(t: Expr) -> Stmt:
        at = [t // index(channels), t % index(channels)]
        total = local(1, "total")
        add = loop(size, lambda i: store(total, [0], load(total, [0]) + load(x, [*at, i])), name="i")
        end = store(out, at, load(total, [0]) * tirx.const(1 / size, "float32"))
        return with_buffers([total], sequence([store(total, [0], tirx.const(0, "float32")), add, end]))

    nest = parallel_where_it_pays(index(batch) * index(channels), plane)
    return finish(function([x, out], nest, "global_mean"), target).with_attr("tir.is_scheduled", True)
