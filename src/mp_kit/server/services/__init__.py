"""Verbs over a transaction. They never commit; edge, flows, console and CLI call the same ones."""
