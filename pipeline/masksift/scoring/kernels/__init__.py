"""Kernels: functions of arrays in numba and numpy. They know no file, no cluster and no configuration."""
