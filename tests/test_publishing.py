"""What a release consists of: one version everywhere, and a CI whose steps are the repository's own."""

import re
from configparser import ConfigParser

import yaml
from conftest import ROOT

import recbole_ec4srec

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
STEPS = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]


def test_every_step_of_ci_is_an_installation_or_a_script_of_the_repository():
    for step in STEPS:
        if re.fullmatch(r'pip install -e "\.\[(test|dev)\]"', step):
            continue
        script = re.match(r"(?:bash|python(?: -m pytest)?) (\S+)", step)[1]
        assert (ROOT / script).is_file(), step


def test_ci_has_rows_of_versions_that_there_are():
    versions = (ROOT / "tools" / "versions.py").read_text(encoding="utf-8")
    rows = [case["row"] for case in WORKFLOW["jobs"]["versions"]["strategy"]["matrix"]["include"]]
    assert rows and all(f'"{row}": (' in versions for row in rows)


def test_the_version_is_one():
    version = recbole_ec4srec.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_folder_of_code_is_installed():
    folders = {folder.parent.relative_to(ROOT) for folder in (ROOT / "recbole_ec4srec").glob("**/__init__.py")}
    packages = {".".join(folder.parts) for folder in folders} | {"recbole_ec4srec.properties"}
    assert set(SETUP["options"]["packages"].split()) == packages


def test_what_the_package_is_published_with():
    of_page = SETUP["metadata"]
    assert of_page["long_description"] == "file: README.md" and of_page["project_urls"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    allowed = re.search(r"Python (3\.\d+) to (3\.\d+)", readme).groups()
    listed = re.findall(r"Python :: (3\.\d+)", of_page["classifiers"])
    assert (listed[0], listed[-1]) == allowed and SETUP["options"]["python_requires"] == f">={allowed[0]}"
