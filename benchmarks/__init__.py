"""Measurements of whole networks and single layers against other engines; see docs/benchmarks.md."""
