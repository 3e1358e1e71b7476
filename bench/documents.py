"""Documents that mean harm: deep, wide, endless or huge for their size."""

from __future__ import annotations

HOSTILE = {
    "deep": "{ orders { nodes " + "{ customer { orders { nodes " * 200 + "{ id }" + " } } }" * 200 + " } }",
    "wide": "{ " + " ".join(f"a{n}: __typename" for n in range(5_000)) + " }",
    "aliases": "{ orders { nodes { " + " ".join(f"a{n}: id" for n in range(1_000)) + " } } }",
    "duplicate fields": "{ orders { nodes { " + "id " * 3_000 + "} } }",
    "ten thousand directives": "{ __typename " + "@include(if: true) " * 10_000 + "}",
    "fragment fan-out": "{ ...f0 } "
    + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(40))
    + " fragment f40 on Query { __typename }",
    "a cycle of fragments": "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
    "a huge list": "{ nodes(ids: [" + ", ".join('"ord_x"' for _ in range(3_000)) + "]) { id } }",
    "a deep value": "{ nodes(ids: " + "[" * 3_000 + "]" * 3_000 + ") { id } }",
    "an integer of 5,000 digits": "{ orders(first: " + "9" * 5_000 + ") { totalCount } }",
    "many operations": " ".join(f"query q{n} {{ __typename }}" for n in range(500)),
    "a string of 500 KB": '{ node(id: "' + "x" * 500_000 + '") { id } }',
    "braces alone": "{" * 20_000,
    "a block string": '{ node(id: """' + "\n " * 20_000 + '""") { id } }',
    "costly": "{ orders(first: 100) { nodes { customer { orders(first: 100) { nodes { lines { id } } } } } } }",
    "copies in fragments": "{ orders { nodes { "
    + " ".join(f"...f{n}" for n in range(50))
    + " } } } "
    + " ".join(f"fragment f{n} on Order {{ " + "id " * 50 + "}" for n in range(50)),
    "copies in copies": "{ orders { nodes { " + ("customer { " + "id " * 40 + "} ") * 40 + "} } }",
    "a fan-out of nothing": "{ ...f0 } "
    + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(40))
    + " fragment f40 on Query { ...f0 }",
    "fields unheard of": "{ orders { nodes { " + " ".join(f"unheardOf{n}" for n in range(3_000)) + " } } }",
    "members unheard of": "{ orders(filter: {"
    + " ".join(f"unheardOf{n}: 1" for n in range(1_200))
    + "}) { totalCount } }",
    "types unheard of": "{ orders { nodes { "
    + " ".join(f"... on UnheardOf{n} {{ id }}" for n in range(50))
    + " } } }",
    "variables unused": "query(" + " ".join(f"$v{n}: Int" for n in range(900)) + ") { __typename }",
    "SQL": '{ orders(filter: {search: "\'; drop table orders; --"}) { totalCount } nodes(ids: ["\' or 1=1"]) { id } }',
}
