"""Prometheus, Alertmanager and Grafana: rules, alerts, dashboards, and a way to start the first two with them."""
