"""Surgery: put a kernel transformation into a model, take it out again, and certify both."""

from refconv.surgery.kernel_state import folded_names, in_kernel_space, merged_state, says_settings
from refconv.surgery.merging import MergedLayer, MergeReport, merge, merged, unrefocus
from refconv.surgery.planning import Budget, Plan, PlanRow, fit_budget, plan, plan_of
from refconv.surgery.refocusing import rebase, refocus, reparametrize
from refconv.surgery.state import (
    check_tensors,
    file_bytes,
    fingerprint,
    load_adapter,
    load_refocused_state_dict,
    metadata_of,
    plain_state_dict,
    refocused_state_dict,
    renamed,
    save_adapter,
    with_metadata,
)
from refconv.surgery.verification import Certificate, evaluating, verify

__all__ = [
    "Budget",
    "Certificate",
    "MergeReport",
    "MergedLayer",
    "Plan",
    "PlanRow",
    "check_tensors",
    "evaluating",
    "file_bytes",
    "fingerprint",
    "fit_budget",
    "folded_names",
    "in_kernel_space",
    "load_adapter",
    "load_refocused_state_dict",
    "merge",
    "merged",
    "merged_state",
    "metadata_of",
    "plain_state_dict",
    "plan",
    "plan_of",
    "rebase",
    "refocus",
    "refocused_state_dict",
    "renamed",
    "reparametrize",
    "save_adapter",
    "says_settings",
    "unrefocus",
    "verify",
    "with_metadata",
]
