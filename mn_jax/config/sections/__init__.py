"""The sections of a config: frozen dataclasses, each field documented."""
