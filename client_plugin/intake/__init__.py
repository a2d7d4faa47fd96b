"""What happens to one received instance, in order: spool, check, de-identify, archive, catalogue."""
