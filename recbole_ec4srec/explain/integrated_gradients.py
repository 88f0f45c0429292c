"""Integrated gradients: the gradient along the way from no items to the items."""

from __future__ import annotations

from recbole_ec4srec.explain.captum_method import CaptumMethod


class IntegratedGradients(CaptumMethod):
    """Captum's ``IntegratedGradients`` with its 50 steps from a zero baseline, summed over the dimensions."""
