"""De-identification by DICOM PS3.15 Annex E, with evidence."""

from client_plugin.intake.deidentify.codes import Action, Done, Option, Quarantine, Reason, Rule
from client_plugin.intake.deidentify.engine import Deidentified, Deidentifier
from client_plugin.intake.deidentify.profile import Profile

__all__ = [
    "Action",
    "Deidentified",
    "Deidentifier",
    "Done",
    "Option",
    "Profile",
    "Quarantine",
    "Reason",
    "Rule",
]
