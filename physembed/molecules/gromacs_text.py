"""The text of a GROMACS topology: its included files, and content that the AMBER form of a molecule cannot represent.

ParmEd, which reads the topologies, silently ignores several sections and misinterprets others, so their absence is not
noticed afterwards. Only active text is considered: branches of `#ifdef` are followed, and of several molecule types
only those requested by `[ molecules ]` are checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import networkx  # type: ignore[import-untyped]

from physembed.errors import PhysEmbedError

FUNCTIONS = {
    "bonds": (2, {"1": "harmonic"}),
    "angles": (3, {"1": "harmonic"}),
    "dihedrals": (4, {"1": "proper", "3": "Ryckaert-Bellemans", "4": "periodic improper", "9": "multiple proper"}),
    "pairs": (2, {"1": "Lennard-Jones and Coulomb"}),
}
"""For each section of interactions, the position of the function number in a line, and the functions AMBER supports."""
OTHER_FUNCTIONS = {
    ("bonds", "2"): "GROMOS, quartic", ("bonds", "3"): "Morse", ("bonds", "4"): "cubic", ("bonds", "5"): "connection",
    ("bonds", "6"): "harmonic without exclusion", ("bonds", "7"): "FENE", ("bonds", "8"): "tabulated",
    ("bonds", "9"): "tabulated", ("bonds", "10"): "restraint",
    ("angles", "2"): "GROMOS, cosine", ("angles", "3"): "cross bond-bond", ("angles", "4"): "cross bond-angle",
    ("angles", "5"): "Urey-Bradley, CHARMM", ("angles", "6"): "quartic", ("angles", "8"): "tabulated",
    ("angles", "9"): "linear", ("angles", "10"): "restricted bending",
    ("dihedrals", "2"): "harmonic improper, CHARMM and GROMOS", ("dihedrals", "5"): "Fourier",
    ("dihedrals", "8"): "tabulated", ("dihedrals", "10"): "restricted", ("dihedrals", "11"): "combined bending-torsion",
    ("pairs", "2"): "pairs with charges of their own",
}  # fmt: skip
"""Names of functions that AMBER does not support."""
PASSED_OVER = {"exclusions", "position_restraints", "implicit_genborn_params"}
"""Sections of a molecule that have no effect here; exclusions are checked with the bonds (`exclusions`)."""
REASONS = {
    "constraints": "bonds as constraints; all bonds must be in [ bonds ], with force constants",
    "settles": "rigid water; give a flexible model, with [ bonds ] and [ angles ] (many files have one under "
    "`#define FLEXIBLE`)",
    "cmap": "CMAP terms, which AMBER's format lacks",
}
"""Why a section is refused."""


@dataclass
class _Molecule:
    name: str
    excluded_bonds: str
    """Pairs up to this many bonds apart do not interact (nrexcl)."""
    sections: dict[str, list[tuple[str, list[str]]]] = field(default_factory=dict)
    """Lines of each section: their location and their words."""


@dataclass(frozen=True)
class GromacsText:
    """The active content of a topology."""

    files: list[Path]
    """Included files, in the order of their inclusion."""
    elements_given: set[str]
    """Atom types whose atomic number is given in the file."""
    molecules: list[tuple[_Molecule, int]]
    """Molecule types and their numbers, as listed in [ molecules ]."""
    defaults: list[str]
    """Words of [ defaults ]."""

    def check_exclusions(self, graph: networkx.Graph) -> None:
        """Reject exclusions other than those of pairs up to three bonds apart, which ParmEd would ignore.

        Args:
            graph: the bonds, with 0-based atom indices.

        Raises:
            PhysEmbedError: a pair is excluded that interacts in the AMBER form, or the other way round.
        """
        molecule, _ = self.molecules[0]
        apart = dict(networkx.all_pairs_shortest_path_length(graph))
        furthest = max(max(lengths.values()) for lengths in apart.values())
        # Pairs three bonds apart are listed separately in [ pairs ].
        if molecule.excluded_bonds != "3" and furthest > min(int(molecule.excluded_bonds), 3):
            raise PhysEmbedError(
                f"[ moleculetype ] {molecule.name}: nrexcl {molecule.excluded_bonds}: only 3 is supported for a "
                f"molecule with atoms {furthest} bonds apart"
            )
        for place, words in molecule.sections.get("exclusions", []):
            first, *others = (int(word) - 1 for word in words)
            for second in others:
                if apart.get(first, {}).get(second, 0) > 3:
                    raise PhysEmbedError(
                        f"{place}: [ exclusions ]: atoms {first + 1} and {second + 1} are {apart[first][second]} bonds "
                        "apart; only pairs up to 3 bonds apart can be excluded in the AMBER form"
                    )


def included_files(topology: str | Path) -> list[Path]:
    """The files that a topology includes, recursively; inactive branches of `#ifdef` are ignored.

    They are inputs just like the topology itself. Only GROMACS topologies (`.top`) include files.

    Raises:
        PhysEmbedError: one of them does not exist.
    """
    files: list[Path] = []
    if Path(topology).suffix.lower() == ".top":
        for _ in _active_lines(Path(topology), {}, files, ()):
            pass
    return list(dict.fromkeys(files))


def _active_lines(
    path: Path, defines: dict[str, str], files: list[Path], outer: tuple[Path, ...]
) -> Iterator[tuple[str, str]]:
    """Yield active lines without comments, with their location; `defines` and `files` are extended on the way."""
    if path in outer:
        raise PhysEmbedError(f"{path} includes itself ({' -> '.join(map(str, [*outer, path]))}); remove this")
    active = [True]
    lines = iter(path.read_text(encoding="utf-8", errors="replace").splitlines())
    for number, line in enumerate(lines, 1):
        place = f"{path}: line {number}"
        while line.rstrip().endswith("\\") and (more := next(lines, None)) is not None:
            line = line.rstrip()[:-1] + " " + more
        text = line.split(";")[0].strip()
        if not text.startswith("#"):
            if text and all(active):
                yield place, text
            continue
        word, _, rest = text[1:].strip().partition(" ")
        name, _, value = rest.strip().partition(" ")
        if word in ("ifdef", "ifndef"):
            active.append((name in defines) == (word == "ifdef"))
        elif word in ("else", "endif") and len(active) == 1:
            raise PhysEmbedError(f"{place}: #{word} without #ifdef")
        elif word == "else":
            active[-1] = not active[-1]
        elif word == "endif":
            active.pop()
        elif not all(active):
            continue
        elif word == "define":
            defines[name] = value.strip()
        elif word == "undef":
            defines.pop(name, None)
        elif word == "include":
            wanted = rest.strip().strip('"<>')
            folders = [path.parent, *(file.parent for file in reversed(outer))]
            found = next((folder / wanted for folder in folders if (folder / wanted).is_file()), None)
            if found is None:
                raise PhysEmbedError(
                    f"{place}: #include {wanted!r}: there is no such file beside {path}; copy it there, or give one "
                    "file without includes as `gmx grompp -pp` writes it"
                )
            files.append(found)
            yield from _active_lines(found, defines, files, (*outer, path))
        else:
            raise PhysEmbedError(f"{place}: #{word}: only #include, #define, #undef and #ifdef are read")


def read_gromacs(topology: str | Path) -> GromacsText:
    """The active text of a GROMACS topology.

    Raises:
        PhysEmbedError: a file is missing, or lines are outside of any section.
    """
    defines: dict[str, str] = {}
    files: list[Path] = []
    types: dict[str, _Molecule] = {}
    molecules: list[tuple[str, str, int]] = []
    elements_given: set[str] = set()
    defaults: list[str] = []
    section, current = "", None
    for place, text in _active_lines(Path(topology), defines, files, ()):
        if heading := re.fullmatch(r"\[\s*(\w+)\s*\]", text):
            section = heading[1]
            continue
        words = [part for word in text.split() for part in defines.get(word, word).split()]
        if not section:
            raise PhysEmbedError(f"{place}: {text[:40]!r}: stands before any section such as [ defaults ]")
        if section == "defaults":
            defaults = words
        elif section == "atomtypes":
            # name (bonded type) (atomic number) mass charge particle sigma epsilon
            if any(word.isdigit() and int(word) > 0 for word in words[1:-5]):
                elements_given.add(words[0])
        elif section == "moleculetype":
            current = types[words[0]] = _Molecule(words[0], words[1] if len(words) > 1 else "")
        elif section == "molecules":
            if len(words) < 2 or not words[1].isdigit():
                raise PhysEmbedError(f"{place}: {text[:40]!r}: [ molecules ] takes a name and a number")
            molecules.append((place, words[0], int(words[1])))
        elif section == "intermolecular_interactions":
            raise PhysEmbedError(f"{place}: [ intermolecular_interactions ] are not supported; give one molecule")
        elif current is not None and section not in ("system",) and not section.endswith("types"):
            current.sections.setdefault(section, []).append((place, words))
    for place, name, _ in molecules:
        if name not in types:
            raise PhysEmbedError(f"{place}: {name!r}: no [ moleculetype ] of this name")
    return GromacsText(
        list(dict.fromkeys(files)),
        elements_given,
        [(types[name], count) for _, name, count in molecules if count],
        defaults,
    )


def check_gromacs(text: GromacsText) -> None:
    """Reject content that the AMBER form of one flexible molecule cannot represent.

    Raises:
        PhysEmbedError: several molecules or none, virtual sites, constraints, other functional forms.
    """
    total = sum(count for _, count in text.molecules)
    if total != 1:
        listed = ", ".join(f"{molecule.name} {count}" for molecule, count in text.molecules) or "none"
        raise PhysEmbedError(f"holds {total} molecules ({listed}); a row is a single connected molecule")
    if text.defaults and text.defaults[0] != "1":
        raise PhysEmbedError(
            f"[ defaults ] has nonbonded function {text.defaults[0]} (Buckingham); only 1 (Lennard-Jones) is supported"
        )
    for section, lines in text.molecules[0][0].sections.items():
        place, _ = lines[0]
        if section in FUNCTIONS:
            _check_functions(section, lines)
        elif section.startswith(("virtual_sites", "dummies")):
            raise PhysEmbedError(
                f"{place}: [ {section} ]: virtual sites are not supported: every particle must be an atom; give a "
                "model without them"
            )
        elif section != "atoms" and section not in PASSED_OVER:
            reason = REASONS.get(section, "terms that are not supported; give a topology without them")
            raise PhysEmbedError(f"{place}: [ {section} ]: {reason}")


def _check_functions(section: str, lines: list[tuple[str, list[str]]]) -> None:
    column, known = FUNCTIONS[section]
    for place, words in lines:
        number = words[column] if len(words) > column else "none"
        if number not in known:
            name = OTHER_FUNCTIONS.get((section, number), "unknown")
            forms = ", ".join(f"{key} ({value})" for key, value in known.items())
            raise PhysEmbedError(
                f"{place}: [ {section} ]: function {number} ({name}) is not supported, only {forms}; give a topology "
                "of the AMBER, GAFF or OPLS form"
            )
