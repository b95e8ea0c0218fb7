"""The console: server-rendered pages for people, beside the edge's API for programs.

1. Every page works without JavaScript; ``static/console.js`` only makes some of them livelier.
2. Nothing is inline: the Content-Security-Policy allows no inline script and no inline style, no other host.
3. Every form that changes something bears a token bound to the session, checked before any handler runs
   (:mod:`mp_kit.server.console.visits`).
4. No number is invented: what is unknown is shown as unknown, with the reason where there is one.
"""

from __future__ import annotations
