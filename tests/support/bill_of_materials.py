"""Whether a software bill of materials is one by its schema."""

from __future__ import annotations


def check_bill(text: str) -> None:
    """Fail unless the text is CycloneDX 1.6."""
    # Here, because it takes seconds: it compiles the grammars of all kinds of addresses.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
