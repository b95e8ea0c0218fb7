"""Names of the HTTP headers that the wire defines."""

from __future__ import annotations

CONTRACTS_VERSION_HEADER = "X-Marketplace-Contracts-Version"
IDEMPOTENCY_KEY_HEADER = "X-Idempotency-Key"
REQUEST_ID_HEADER = "X-Request-Id"
RATE_LIMIT_HEADER = "X-RateLimit-Limit"
RATE_REMAINING_HEADER = "X-RateLimit-Remaining"
RATE_RESET_HEADER = "X-RateLimit-Reset"
MANIFEST_SIGNATURE_HEADER = "X-Manifest-Signature"
MANIFEST_KEY_HEADER = "X-Manifest-Key-Id"
DRY_RUN_HEADER = "X-Marketplace-Dry-Run"
"""On POST /infer of a vendor's server: answer as ever, but push nothing; `mp validate` sends it."""
