"""``mp``: the vendor's and the operator's command line, one file per noun."""
