"""What a run needs before its first step, a file for each."""
