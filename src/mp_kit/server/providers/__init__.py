"""Where trainings run: one protocol, one module per provider."""
