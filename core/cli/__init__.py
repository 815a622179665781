"""Every workflow without a browser."""
