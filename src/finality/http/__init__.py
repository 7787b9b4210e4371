"""Finality over HTTP: what a service mounts so that transactions elsewhere can reserve in it."""

from finality.http.application import participant

__all__ = ["participant"]
