"""Replacing the site key: everything it wraps is wrapped anew; no object is touched and no pseudonym changes.

An interrupted rotation is finished by running it again. The order is: the new key is durable, the catalogue's keys
are rewrapped in one transaction, the new key and the rewrapped root secret take their places.
"""

from __future__ import annotations

import os

from client_plugin.archive.archive import key_context
from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.keys import (
    KEY_SIZE,
    KeyUnusable,
    SiteKeys,
    key_lock,
    next_file,
    open_root,
    read_key_file,
    root_file,
    site_key,
    sync_folder,
    wrap_root,
    write_new,
)
from client_plugin.archive.sealing import SealBroken, seal, unseal
from client_plugin.config import NodeConfig


def rotate_key_file(config: NodeConfig) -> int:
    """Replace the key file by a fresh key; the node must be stopped.

    Returns
    -------
    int
        How many patients' keys were rewrapped.

    Raises
    ------
    KeyUnusable
        The key is in use, or comes from a command (then see `rotate_to`).
    """
    if config.archive.key_command:
        raise KeyUnusable("the site key comes from archive.key_command: make the new one there, then rotate to it")
    with key_lock(config, exclusive=True):
        upcoming = next_file(config.key_file)
        write_new(upcoming, os.urandom(KEY_SIZE))  # left as it is if a rotation was interrupted
        changed = _rewrap(config, site_key(config), read_key_file(upcoming))
        upcoming.replace(config.key_file)
        sync_folder(config.key_file.parent)
        _take_over_root(config)
    return changed


def rotate_to(config: NodeConfig, new_site: bytes) -> int:
    """Wrap everything by ``new_site``, which replaces the key that `SiteKeys.open` finds; the node must be stopped.

    For keys that come from a command: set ``archive.key_command`` to the one that prints the new key afterwards.
    """
    with key_lock(config, exclusive=True):
        changed = _rewrap(config, site_key(config), new_site)
        _take_over_root(config)
    return changed


def _rewrap(config: NodeConfig, old_site: bytes, new_site: bytes) -> int:
    path, upcoming = root_file(config), next_file(root_file(config))
    if upcoming.exists() and open_root(upcoming, old_site) is not None:
        _take_over_root(config)  # all that an interrupted rotation had left to do
    root = open_root(path, old_site) or open_root(path, new_site)
    if root is None:
        raise KeyUnusable(f"neither key opens {path}: restore the key this node was set up with")
    upcoming.unlink(missing_ok=True)
    write_new(upcoming, wrap_root(root, new_site))
    old, new = (SiteKeys(site, root).derive("wrap") for site in (old_site, new_site))

    def rewrap(pseudonym: str, wrapped: bytes) -> bytes:
        context = key_context(pseudonym)
        try:
            return seal(unseal(wrapped, old, context), new, context)
        except SealBroken:
            unseal(wrapped, new, context)  # by a rotation that was interrupted
            return wrapped

    catalogue = Catalogue.open(config.catalogue_url)
    try:
        changed = catalogue.rewrap_keys(rewrap)
        catalogue.scrub()
    finally:
        catalogue.close()
    return changed


def _take_over_root(config: NodeConfig) -> None:
    next_file(root_file(config)).replace(root_file(config))
    sync_folder(root_file(config).parent)
