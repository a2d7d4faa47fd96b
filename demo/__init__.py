"""`make demo`: three hospitals train on real studies, as processes on one machine, and the server reads none of it."""
