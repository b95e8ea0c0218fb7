"""A whole marketplace to rehearse in: a vendor's month in a minute, offline (``mp_kit.sandbox``, ``mp sandbox``).

1. The marketplace is the operator's own (:mod:`mp_kit.server.sandbox`), in a process beside this one; everybody here,
   the house's vendors too, talks to it by HTTP with the same client as anywhere.
2. The bars lie in this process (:mod:`.tape`). What has not closed by the sandbox's time is shown to nobody: not to a
   model, not in a round, not to the marketplace.
3. At each close the clock is moved to it and everybody speaks, before it is moved again: signals are in time by the
   marketplace's own rules, and none is back-dated.
"""
