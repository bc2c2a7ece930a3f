"""The runner: what to run, how, where results go, how they are shown."""
