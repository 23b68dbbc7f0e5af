"""Alerts: what people should know when nobody is looking, and how they are told."""
