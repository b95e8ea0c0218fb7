"""Alembic migrations; each is a plain SQL file with a few lines of Python that name it."""
