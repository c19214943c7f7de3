"""Configuration: TOML files and command-line flags become one frozen model."""
