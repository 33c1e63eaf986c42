"""Devices and processes: mesh, cluster, watchdog, compile cache."""
