"""Measures the choices of a compile on the device and remembers the best.

Parts, from the bottom up: `keys` names what a measurement belongs to, `records` keeps measurements in a file, `timing`
and `worker` measure in a process of their own, `process` holds that process, `task` finds the distinct layers of a
program, `search` says what to try next, `tuner` drives it all, `report` says what came of it, `progress` shows it
meanwhile.
"""
