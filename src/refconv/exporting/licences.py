"""The identifiers of licences that the hub knows, as its documentation lists them."""

from __future__ import annotations

import warnings

from refconv.errors import RefconvError, RefconvWarning, did_you_mean

LICENCES = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
    eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 h-research intel-research isc
    lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa
    odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib
    """.split()  # noqa: SIM905  # eighty names in eight lines
)


def warn_unless_known(identifier: str) -> None:
    """Warn of a licence that is none of the hub's, which may have new ones, with those of similar names.

    Args:
        identifier: in lower case, such as ``apache-2.0``.

    Example:
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warnings.simplefilter("always")
        ...     warn_unless_known("apache-2")
        >>> print(said[0].message)
        license: no identifier that the hub is known to have; found apache-2; did you mean apache-2.0?
    """
    if identifier not in LICENCES:
        what = "no identifier that the hub is known to have"
        other = "give other, with --license-name and --license-link, in Python license_name and license_link"
        remedy = did_you_mean(identifier, LICENCES) or other
        warnings.warn(str(RefconvError(what, where="license", found=identifier, remedy=remedy)), RefconvWarning, 3)
