"""A marketplace for trading models that lives in notebooks and Prefect."""
