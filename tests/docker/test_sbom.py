"""The SBOM keeps SPDX's rules, says what the manifest says, and depends on nothing else."""

from tests.docker.sbom import MANIFEST, broken_rules, sbom


def test_it_keeps_the_rules_of_spdx() -> None:
    assert broken_rules(sbom(MANIFEST)) == []


def test_a_document_that_breaks_them_is_noticed() -> None:
    document = sbom(MANIFEST)
    document["documentNamespace"] = "libmoe#1"
    document["packages"][1]["SPDXID"] = "SPDXRef-a_b"
    del document["packages"][2]["downloadLocation"]
    document["packages"][1]["checksums"][0]["checksumValue"] = "0"
    told = broken_rules(document)
    assert len(told) == 6, told  # a changed identifier is also nowhere, and related to nothing


def test_packages_have_their_address_hash_and_licence() -> None:
    image, click, ruamel, library = sbom(MANIFEST)["packages"]
    addresses = [one["externalRefs"][0]["referenceLocator"] for one in (click, ruamel, library)]
    assert addresses == [
        "pkg:pypi/click@8.2",
        "pkg:pypi/ruamel-yaml-x@1.0%2Bcpu",
        "pkg:deb/ubuntu/libstdc%2B%2B6@2:1.0~rc?arch=amd64&distro=ubuntu-24.04",
    ]
    assert click["checksums"] == [{"algorithm": "SHA256", "checksumValue": "a" * 64}]
    assert "checksums" not in library
    assert (click["licenseDeclared"], ruamel["licenseDeclared"]) == ("BSD-3-Clause", "NOASSERTION")
    assert image["primaryPackagePurpose"] == "CONTAINER"


def test_the_same_manifest_gives_the_same_document() -> None:
    assert sbom(MANIFEST) == sbom(MANIFEST)
    changed = {**MANIFEST, "packages": MANIFEST["packages"][:-1]}
    assert sbom(changed)["documentNamespace"] != sbom(MANIFEST)["documentNamespace"]
