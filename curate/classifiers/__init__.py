"""fastText classifiers: a sample of labelled texts, a model with its card, scores, and quality buckets.

`samples` draws texts, `training` makes a model and says how good it is (`metrics`), `scoring` applies one,
`buckets` turns scores into percentiles per language. `docs/classifiers.md` explains the choices.
"""


class ClassifierError(Exception):
    """A classifier cannot be trained or used; the message says which, why, and what to do."""
