"""NVFlare jobs. Each module describes one job and writes it as a folder of configuration, never code."""
