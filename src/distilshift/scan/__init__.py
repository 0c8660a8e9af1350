"""Looking at files before anything loads them: each module knows one kind, with the standard library alone."""
