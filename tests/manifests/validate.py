"""Validates rendered manifests, strictly, against the schemas of every Kubernetes that
kubernetes-validate knows, 1.29 among them. Usage: validate.py FILE..."""

import functools
import sys

import yaml
from kubernetes_validate import utils

# Kinds without a schema, whose shape the rules in Rust know.
CUSTOM = {"ServiceMonitor"}
REQUIRED = "1.29"

# The library reads a megabyte of definitions anew for every object.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


def complaint(document, version):
    """What is wrong with the document for that version, or None."""
    try:
        utils.validate(document, version, strict=True)
    except utils.ValidationError as error:
        place = ".".join(str(step) for step in error.path)
        return f"{place}: {error.message}"
    except utils.SchemaNotFoundError as error:
        return error.message
    return None


def main(files):
    # Each has two sets of schemas, a lax one and a strict one.
    versions = list(dict.fromkeys(map(utils.major_minor, utils.all_versions())))
    if REQUIRED not in versions:
        sys.exit(f"kubernetes-validate knows {versions}, and not {REQUIRED}")
    documents = {}
    for file in files:
        with open(file, encoding="utf-8") as text:
            for document in yaml.safe_load_all(text):
                if document and document["kind"] not in CUSTOM:
                    title = f"{file}: {document['kind']} {document['metadata']['name']}"
                    documents[title] = document
    # What the renderings have in common is looked at once.
    unique = {yaml.dump(document): title for title, document in reversed(documents.items())}
    wrong = 0
    for version in versions:
        for title in unique.values():
            what = complaint(documents[title], version)
            if what:
                wrong += 1
                print(f"{title} for {version}: {what}")
    first, last, count = versions[0], versions[-1], len(unique)
    print(f"{count} objects against {len(versions)} versions, {first} to {last}: {wrong} wrong")
    return 1 if wrong or not documents else 0


sys.exit(main(sys.argv[1:]))
