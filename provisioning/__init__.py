"""Startup kits for a consortium: NVFlare's provisioning, with fedpacs' protections written into every kit."""
