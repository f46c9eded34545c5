"""Speed and memory as ratios: ``python -m bench`` measures every figure in one interleaved run.

The gateway, the load and the comparisons are processes of their own, so the CPU of one is not counted for
another. Figures are ratios wherever the machine would otherwise decide: parts that are compared take turns.
"""
