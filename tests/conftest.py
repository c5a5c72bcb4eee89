"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A busy machine is no failure: examples may take as long as they take.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
