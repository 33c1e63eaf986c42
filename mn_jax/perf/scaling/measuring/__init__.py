"""Series on the devices of a machine, point by point."""
