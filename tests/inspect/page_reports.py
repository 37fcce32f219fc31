"""Reports of the shape that a compile makes, for the page: small, or large, or with strings that mean harm."""

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\"'`${alert(1)}\\\u2028\u2029\x00\x1b[31m",
    "ünïcödé 模型 🧠 \u202egnihsiup",
    "half a pair \ud83d, no width \u061c\ufeff",
    "{{scripts}} {{data}} \\g<1>",
    "x" * 10_000,
)
STAGES = ("captured", "propagated", "removed", "fused", "lowered")


def node(name, kind="call", op="", inputs=(), weights=(), layer="", density=None, origin=()):
    fields = {"type": "f32[1, 64]", "facts": "", "inputs": list(inputs), "weights": list(weights)}
    return {"id": name, "kind": kind, "op": op, "layer": layer, "density": density, "origin": list(origin), **fields}


def linear(i, op, before):
    return node(f"linear_{i}", op=op, inputs=[before], weights=[f"w_{i}"], layer=f"body.{i}", density=0.1 + i % 9 / 10)


def views(layers, fused_as="sparsecomp.linear.default"):
    """A chain of linear layers, each followed by an activation that fusion takes in."""
    plain, fused, lowered = [node("x", "input")], [node("x", "input")], [node("x", "input")]
    for i in range(layers):
        plain.append(linear(i, "aten.linear.default", f"relu_{i - 1}" if i else "x"))
        plain.append(node(f"relu_{i}", op="aten.relu.default", inputs=[f"linear_{i}"], layer=f"act.{i}"))
        fused.append(linear(i, fused_as, f"linear_{i - 1}" if i else "x"))
        lowered.append({**linear(i, f"fused_linear_{i}", f"linear_{i - 1}" if i else "x"), "origin": [f"linear_{i}"]})
    last = node("output", "output", inputs=[f"relu_{layers - 1}"])
    done = node("output", "output", inputs=[f"linear_{layers - 1}"])
    graphs = ([*plain, last], [*plain, last], [*plain, last], [*fused, done], [*lowered, done])
    return [{"stage": stage, "nodes": nodes} for stage, nodes in zip(STAGES, graphs, strict=True)]


def row(i, **changes):
    schedule = {"rows": 4, "sparse": True, "clustered": False}
    density = 0.1 + i % 9 / 10
    return {
        "layer": f"body.{i}",
        "weight": f"body.{i}.weight",
        "op": "linear",
        "shape": [64, 64],
        "pattern": "unstructured",
        "density": density,
        "preview": {"spy": ["0123456789012345"] * 8, "histogram": [0, 3, 5] + [0] * 17},
        "nodes": [f"linear_{i}"],
        "shape_after": [64, 64],
        "outputs_removed": 2,
        "inputs_removed": 0,
        "format": "CSR",
        "kernel": "column",
        "schedule": schedule,
        "function": f"fused_linear_{i}",
        "reason": "sparse is predicted 2 times as fast as dense",
        "dense": "",
        "predicted": 1e-5 * (1 + i % 5),
        "measured": None,
        "dense_predicted": 2e-5 * (1 + i % 5),
        "macs": 1000,
        "macs_dense": 4096,
        "gflops": 12.5,
        "roofline": 0.5,
        "bytes_before": 16384,
        "bytes_after": 6000,
        "share": 0.1,
        **changes,
    }


def decision(i):
    ways = [
        {"schedule": {"rows": 2**k, "sparse": True}, "predicted": 1e-5 * (1 + k), "measured": None} for k in range(3)
    ]
    return {"layer": f"body.{i}", "node": f"linear_{i}", "density": 0.5, "candidates": ways, "reason": "fast"}


def report(count=6, **changes):
    rows = range(count)
    return {
        "model": "Chain",
        "target": "native",
        "relative_error": 1.5e-6,
        "decisions": [decision(i) for i in rows],
        "stages": views(count),
        "layers": [row(i) for i in rows],
        "code": {f"fused_linear_{i}": "def main(x):\n    return x\n" for i in rows},
        **changes,
    }


def hostile_report():
    """Every string that comes from the user, and some that do not, is one of `HOSTILE`."""
    found = report(len(HOSTILE))
    found["model"] = "".join(HOSTILE)
    for text, layer, decided in zip(HOSTILE, found["layers"], found["decisions"], strict=True):
        layer |= {"layer": text, "weight": text, "reason": text, "pattern": text, "format": text, "kernel": text}
        decided["candidates"][0]["schedule"] = {text: text}
    for view in found["stages"]:
        for each in view["nodes"]:
            i = int(each["id"].split("_")[1]) if "_" in each["id"] else 0
            each |= {"layer": HOSTILE[i], "type": HOSTILE[i], "facts": HOSTILE[i]}
    found["code"] = {name: HOSTILE[i] for i, name in enumerate(found["code"])}
    return found
