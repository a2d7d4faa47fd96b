"""What the hospital's node and the consortium's server need to be measurable: instruments, endpoint, logs.

Imports none of the other packages, and importing it does not import ``prometheus_client``: that
library decides at import time whether several processes share their figures (see ``setup``).
"""
