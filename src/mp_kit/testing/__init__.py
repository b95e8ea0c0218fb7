"""A marketplace in memory, for vendors' own tests and ours: the wire's envelope, codes and exactly-once rules.

::

    from mp_kit import Marketplace
    from mp_kit.testing import FakeMarketplace

    fake = FakeMarketplace()
    m = Marketplace(fake.url, fake.api_key, transport=fake.transport)
    m.data.pull("current", output=folder)

1. No socket is opened: API and files are answered by one httpx transport.
2. Its one round is real: Parquet files of the given tables, hashed, listed in a manifest with a real signature.
3. A signal is stored once by its identity, told ``duplicate`` when it comes again and ``conflict`` when it differs.
4. :meth:`FakeMarketplace.fail` makes the next requests fail, to try unhappy paths.
"""

from __future__ import annotations

from mp_kit.testing.bars import sample_bars, sample_round
from mp_kit.testing.marketplace import FakeMarketplace
from mp_kit.testing.rounds import Tables, sample_tables

__all__ = ["FakeMarketplace", "Tables", "sample_bars", "sample_round", "sample_tables"]
