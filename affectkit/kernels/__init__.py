"""Kernel extreme learning machines: closed-form learners whose whole grid of C is scored in one go.

`elm` has the scikit-learn estimators, `grid` the scores of every C (leave-one-out and by folds), `normalise` the
normalisation that goes before, `functions` the kernels. They import scikit-learn and scipy at the top, so import them
inside functions; this module imports nothing.
"""
