"""Everything that runs the system: the command line, the local runner, the embedded servers."""
