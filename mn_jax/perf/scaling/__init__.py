"""How training scales over devices: measured, planned, reported."""
