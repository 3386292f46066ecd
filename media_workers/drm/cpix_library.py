"""The one place that imports the CPIX library: it looks for its schema in a way that warns on import."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import cpix  # type: ignore[import-untyped] # the library has no types
    from cpix import (
        CPIX,
        AudioFilter,
        ContentKey,
        ContentKeyList,
        DRMSystem,
        DRMSystemList,
        UsageRule,
        UsageRuleList,
        VideoFilter,
    )

# It has read its schema and leaves the file open.
cpix.CPIX_SCHEMA_DOC.close()

__all__ = [
    "CPIX",
    "AudioFilter",
    "ContentKey",
    "ContentKeyList",
    "DRMSystem",
    "DRMSystemList",
    "UsageRule",
    "UsageRuleList",
    "VideoFilter",
]
