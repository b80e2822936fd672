"""Device specs as TOML files, one for each device."""
