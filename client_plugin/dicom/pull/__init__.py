"""Pulling studies from a PACS into the intake.

`query` says which; `dimse` and `dicomweb` ask a source and fetch; `schedule` decides when and whether again;
`puller` works the job table off; `command` is behind ``fedpacs pull`` and ``fedpacs pulls``.
"""
