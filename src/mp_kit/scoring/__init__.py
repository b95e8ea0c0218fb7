"""Pure numbers: how signals are blended and, later, judged."""
