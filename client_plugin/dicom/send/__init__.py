"""Sending results to a PACS.

`outbox` keeps what is to be sent, sealed; `dimse` and `dicomweb` deliver it by C-STORE and STOW-RS; `sender` works the
outbox off, with the retry rules of pulling.
"""
