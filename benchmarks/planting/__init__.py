"""Instances full of planted identifiers, and the search for those that a de-identifier has left.

Every attribute that PS3.3 allows in an IOD gets a value, to three levels of nesting, and every value that could
identify somebody is an identifier of its own that occurs nowhere else: a surname that no list has, a number, a date, a
UID. Where no de-identifier could tell an unknown identifier from a value (a number in an IS, a code string, a lookup
table), the patient's own name or number is planted instead. Private, retired and foreign attributes, overlays,
curves, icons, padding, the preamble and the file meta information get theirs besides.
"""

from benchmarks.planting.identifiers import Plant
from benchmarks.planting.instances import MODALITIES, Planted, corpus
from benchmarks.planting.search import survivors

__all__ = ["MODALITIES", "Plant", "Planted", "corpus", "survivors"]
