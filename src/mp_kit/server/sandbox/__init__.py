"""The marketplace of a sandbox: the real one, in a process of its own, whose clock whoever started it moves.

1. It is started by :mod:`mp_kit.rehearsal` with a pipe, asked by lines of JSON, and ends when the pipe does, however
   that came about; Postgres and the pods of the stand-in for RunPod end with it.
2. Its clock and its database's are moved together (:mod:`mp_kit.server.clock`, ``store/movable.py``); everything else
   is what ``mp up`` runs: the edge, the services, the supervisor of runs, the deliverer of webhooks. Only the
   schedules of Prefect are missing: what they would have started is done in their order when the clock is moved.
3. Nothing in it reaches another machine: RunPod is a stand-in, the Hugging Face Hub and W&B lead nowhere.
"""
