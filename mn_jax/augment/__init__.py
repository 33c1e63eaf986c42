"""Images on the device: uint8 to network input, and random changes."""
