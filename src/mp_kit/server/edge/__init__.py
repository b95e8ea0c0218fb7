"""The HTTP edge: parse and authorize, one service call in one transaction, answer."""
