"""What a release needs besides the tests: contracts, changelog, distributions, locks."""
