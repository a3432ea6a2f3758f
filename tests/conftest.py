"""What every test may take: the fixtures of the real servers."""

pytest_plugins = ["tests.servers"]
