"""The one place that imports the CPIX library: it looks for its schema in a way that warns on import."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from cpix import (  # type: ignore[import-untyped] # the library has no types
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
