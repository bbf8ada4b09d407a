"""Surgery: put a kernel transformation into a model, take it out again, and certify both."""

from refconv.surgery.adapter import fingerprint, load_adapter, save_adapter
from refconv.surgery.budget import Budget, fit_budget
from refconv.surgery.merge import MergedSite, MergeReport, merge, merged, plain_state_dict, unrefocus
from refconv.surgery.plan import Plan, PlanRow, plan, plan_of
from refconv.surgery.rebase import rebase
from refconv.surgery.refocus import refocus
from refconv.surgery.reparametrize import reparametrize
from refconv.surgery.state import load_refocused_state_dict, refocused_state_dict
from refconv.surgery.verify import Certificate, evaluating, verify

__all__ = [
    "Budget",
    "Certificate",
    "MergeReport",
    "MergedSite",
    "Plan",
    "PlanRow",
    "evaluating",
    "fingerprint",
    "fit_budget",
    "load_adapter",
    "load_refocused_state_dict",
    "merge",
    "merged",
    "plain_state_dict",
    "plan",
    "plan_of",
    "rebase",
    "refocus",
    "refocused_state_dict",
    "reparametrize",
    "save_adapter",
    "unrefocus",
    "verify",
]
