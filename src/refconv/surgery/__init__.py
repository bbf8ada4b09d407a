"""Surgery: put the refocusing transformation into a model, take it out again, and certify both."""

from refconv.surgery.adapter import fingerprint, load_adapter, save_adapter
from refconv.surgery.merge import MergedSite, MergeReport, merge, merged, plain_state_dict, unrefocus
from refconv.surgery.plan import Plan, PlanRow, plan
from refconv.surgery.rebase import rebase
from refconv.surgery.refocus import refocus
from refconv.surgery.state import load_refocused_state_dict, refocused_state_dict
from refconv.surgery.verify import Certificate, evaluating, verify

__all__ = [
    "Certificate",
    "MergeReport",
    "MergedSite",
    "Plan",
    "PlanRow",
    "evaluating",
    "fingerprint",
    "load_adapter",
    "load_refocused_state_dict",
    "merge",
    "merged",
    "plain_state_dict",
    "plan",
    "rebase",
    "refocus",
    "refocused_state_dict",
    "save_adapter",
    "unrefocus",
    "verify",
]
