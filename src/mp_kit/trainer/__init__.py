"""What runs inside a training job: a wrapper for any command, and reference trainers that really learn.

1. ``python -m mp_kit.trainer`` runs the reference trainer of the spec's task under the wrapper;
   ``python -m mp_kit.trainer -- python train.py`` wraps any other command.
2. A job talks to the wrapper through :mod:`mp_kit.trainer.report` and through the folder ``MP_ARTIFACT_DIR``.
3. The local provider, RunPod's pods and a vendor's own machine run the very same code.
"""
