"""Stages: functions from artifacts and one frozen config to a new artifact."""
