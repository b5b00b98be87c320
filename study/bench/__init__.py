"""The benchmark of `study bench`."""
