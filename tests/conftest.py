"""What every test may take: the fixtures of the real servers; and how hypothesis runs."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.servers"]

# How long an example takes says how busy the machine is: pytest's own limit is the deadline.
settings.register_profile("odometer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("odometer")
