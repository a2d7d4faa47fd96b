"""The five dashboards as data: one module each, built into Grafana's JSON by ``build``.

python -m server_config.monitoring.dashboards.build
"""
