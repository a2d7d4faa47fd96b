"""Training at a hospital: archived studies become volumes, volumes become samples, samples train a MONAI network.

`volumes` reads the archive, `splits` decides what is held out, ``tasks`` turn volumes into samples, `training` runs
one round, `evaluation` counts what came out, and `bundle` writes the model down. Nothing here knows DICOM's network
side or NVFlare; only the executor does.
"""
