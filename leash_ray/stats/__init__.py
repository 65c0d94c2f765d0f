"""Statistics of the leash: pure NumPy and SciPy, no Ray. One idea a file, undefined is NaN, never zero."""
