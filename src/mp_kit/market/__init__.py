"""Pure data: bars in, checked bars, indicators, labels, purged splits and Parquet files out.

Rules of this package:

1. numpy and pyarrow in, the same out; no database, no settings, no clock and no network of its own.
2. A function of this package gives the same bytes for the same bytes.
3. Importing ``mp_kit.market`` imports nothing else: take what you need from its modules.

The modules, in the order in which data passes through them: ``sources`` (with ``sniff``), ``bars``, ``quality``,
``indicators``, ``labels``, ``splits``, ``leakage``, ``parquet``, and ``build``, which joins them.
"""
