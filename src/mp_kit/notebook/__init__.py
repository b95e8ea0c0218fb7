"""What notebooks show: HTML pieces and plots. The client's results use the same pieces for their own cards.

``from mp_kit.notebook import plot_bars, table, card``; matplotlib is imported by the first plot only.
"""

from __future__ import annotations

from mp_kit.client.html import card, log_lines, progress_bar, table
from mp_kit.notebook.measured import plot_measured
from mp_kit.notebook.plots import plot_bars

__all__ = ["card", "log_lines", "plot_bars", "plot_measured", "progress_bar", "table"]
