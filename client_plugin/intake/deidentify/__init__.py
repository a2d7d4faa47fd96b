"""De-identification by DICOM PS3.15 Annex E, with evidence."""

from client_plugin.intake.deidentify.codes import Action, Done, Option, Quarantine, Reason, Rule
from client_plugin.intake.deidentify.engine import Deidentified, Deidentifier
from client_plugin.intake.deidentify.folder import FolderSummary, deidentify_folder
from client_plugin.intake.deidentify.profile import Profile
from client_plugin.intake.deidentify.vault import Identity, NotInVault, Vault

__all__ = [
    "Action",
    "Deidentified",
    "Deidentifier",
    "Done",
    "FolderSummary",
    "Identity",
    "NotInVault",
    "Option",
    "Profile",
    "Quarantine",
    "Reason",
    "Rule",
    "Vault",
    "deidentify_folder",
]
