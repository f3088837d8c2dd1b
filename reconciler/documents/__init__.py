"""Documents: text to desired state in normal form, or to all that is wrong with it; pure.

1. A text becomes trees (`text`, `tree`): plain JSON values and the place of each part.
   Limits, keys given twice, aliases and tags are found here.
2. Each kind's value is checked by the rules that the kind declares beside itself
   (`rules`, `kinds`); cerberus' errors are put into plain words (`wording`).
3. What passes takes its normal form: the long form in JSON types, only what is written.
   The normal form of a normal form is itself.
"""

from reconciler.documents.document import API_VERSION, KIND, Document, normalise, read, read_mapping
from reconciler.documents.explain import FieldDoc, describe_field
from reconciler.documents.json_schema import json_schema, json_schema_text
from reconciler.documents.policy_text import read_policy
from reconciler.documents.scalars import duration_s, duration_text

__all__ = [
    "API_VERSION",
    "KIND",
    "Document",
    "FieldDoc",
    "describe_field",
    "duration_s",
    "duration_text",
    "json_schema",
    "json_schema_text",
    "normalise",
    "read",
    "read_mapping",
    "read_policy",
]
