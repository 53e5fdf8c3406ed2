"""bigseg: exact, resumable segmentation of volumes that no memory can hold.

Everything public is here and loaded when first used, so that ``bigseg --help`` answers at once.
"""

from bigseg._public import NAMES, load

__all__ = list(NAMES)
__getattr__ = load
