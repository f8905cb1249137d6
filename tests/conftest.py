"""What holds for all tests."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell that runs this in the background has it ignored, and every process of ours would inherit that."""
