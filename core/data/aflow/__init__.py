"""AFLOW: what to ask its search API, how to get all of it, and what its entries look like.

Data of AFLOW is free for scientific, academic and non-commercial use; its use implies citing Curtarolo et al.,
Comp. Mat. Sci. 58, 227 (2012); the search API is Rose et al., Comp. Mat. Sci. 137, 362 (2017).
"""

TERMS = "Free for scientific, academic and non-commercial use, without any warranty (aflow.org)."
CITATION = "Curtarolo et al., Comp. Mat. Sci. 58, 227 (2012); Rose et al., Comp. Mat. Sci. 137, 362 (2017)."
METHOD = "AFLOW"  # the energies of its PAW_PBE calculations
DFT_TYPE = "PAW_PBE"
