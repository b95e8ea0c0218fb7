"""The vendor's side: one :class:`~mp_kit.client.marketplace.Marketplace` and its parts."""
