"""Benchmarks: one module per hot path, each printing ratios against a named limit or peer measured in the same run."""
