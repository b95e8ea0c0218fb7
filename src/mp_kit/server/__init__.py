"""The operator's side of the marketplace; needs `mp-kit[server]`."""
