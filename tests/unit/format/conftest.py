"""Settings of the generated tests of this room."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Neither a slow machine nor a busy one is a fault of the format: pytest's own time-out catches a hang.
settings.register_profile("format", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("format")
