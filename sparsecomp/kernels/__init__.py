"""Kernels: TIR templates for weights from dense to sparse."""
