"""ChooseLayout: one concatenation per gate site, read by one gather per branch.

Slicing writes one concatenation per value it assembles. The branches of a gate site assemble from
the same sources (psi, phi_1 .. phi_T), so those concatenations are joined into one,
`J = cat(psi, phi_1 .. phi_T)`, which every branch gathers from. Measured against a concatenation
per branch, slices of permuted channels, and split consumer convolutions, this form runs fastest and
is the simplest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import fx

from igc.ops.facts import operand
from igc.passes.builder import Builder
from igc.passes.record import Record
from igc.program import Program
from igc.program.rebuild import Env
from igc.program.shapes import Value, shapes

aten = torch.ops.aten


@dataclass
class _Site:
    """Gathers that may share one concatenation: their sources are all ready before any of them."""

    axis: int
    sources: list[fx.Node] = field(default_factory=list)
    gathers: list[fx.Node] = field(default_factory=list)
    ready: int = 0  # depth of the deepest source
    first: int = 0  # depth of the shallowest gather


@dataclass(frozen=True)
class ChooseLayout:
    """Join the concatenations of a gate site."""

    name: str = "choose layout"

    def __call__(self, program: Program, record: Record) -> Program:
        """The program with joined concatenations; the same object where none could be joined."""
        sites = [s for s in _sites(program, record) if len(s.gathers) > 1]
        return _join(program, sites) if sites else program


def _gathers(program: Program, record: Record) -> list[fx.Node]:
    """Gathers from a concatenation that only they read."""
    found = []
    for node in program.graph.nodes:
        if node.target is aten.index_select.default:
            x = cast("fx.Node", node.args[0])
            if x.target is aten.cat.default and len(x.users) == 1:
                found.append(node)
            elif x.target is aten.cat.default and any(u.target is not node.target for u in x.users):
                record.declined(node, "its concatenation is also read without a gather")
    return found


def _sites(program: Program, record: Record) -> list[_Site]:
    depth: dict[fx.Node, int] = {}
    for node in program.graph.nodes:
        depth[node] = 1 + max((depth[n] for n in node.all_input_nodes), default=0)
    sites: list[_Site] = []
    for gather in _gathers(program, record):
        joined = cast("fx.Node", gather.args[0])
        axis = cast("int", gather.args[1])
        sources = list(cast("list[fx.Node]", joined.args[0]))
        ready, first = max(depth[s] for s in sources), depth[gather]
        for site in sites:
            fits = max(site.ready, ready) < min(site.first, first)
            if site.axis == axis and fits and set(sources) & set(site.sources):
                site.sources += [s for s in sources if s not in site.sources]
                site.gathers.append(gather)
                site.ready, site.first = max(site.ready, ready), min(site.first, first)
                break
        else:
            sites.append(_Site(axis, sources, [gather], ready, first))
    return sites


def _join(program: Program, sites: list[_Site]) -> Program:
    facts = shapes(program)
    build = Builder(program)
    site_of = {g: s for s in sites for g in s.gathers}
    replaced = {cast("fx.Node", g.args[0]) for g in site_of}
    joined: dict[int, fx.Node] = {}

    def make(node: fx.Node, env: Env) -> fx.Node | None:
        site = site_of.get(node)
        if site is None:
            return None
        if id(site) not in joined:
            parts = [env[s] for s in site.sources]
            joined[id(site)] = build.call(node.meta, aten.cat.default, parts, site.axis)
        return _gather(node, site, joined[id(site)], facts, build)

    return build.rebuild(make, [n for n in _ordered(program, sites) if n not in replaced])


def _ordered(program: Program, sites: list[_Site]) -> list[fx.Node]:
    """The nodes so that all sources of a site come before its first gather.

    Sorting by depth does that: every source of a site is shallower than every gather of it.
    """
    depth: dict[fx.Node, int] = {}
    for node in program.graph.nodes:
        depth[node] = 1 + max((depth[n] for n in node.all_input_nodes), default=0)
    nodes = list(program.graph.nodes)
    place = {n: i for i, n in enumerate(nodes)}
    body = [n for n in nodes if n.op not in ("placeholder", "output")]
    body.sort(key=lambda n: (depth[n], place[n]))
    first = [n for n in nodes if n.op == "placeholder"]
    return [*first, *body, *(n for n in nodes if n.op == "output")]


def _gather(
    node: fx.Node, site: _Site, joined: fx.Node, facts: dict[fx.Node, Value], build: Builder
) -> fx.Node:
    """The same channels, counted in the joined concatenation."""
    start, starts = 0, {}
    for source in site.sources:
        starts[source] = start
        start += facts[source].dims[site.axis]
    old = cast("fx.Node", node.args[0])
    parts = cast("list[fx.Node]", old.args[0])
    places = torch.cat([torch.arange(facts[s].dims[site.axis]) + starts[s] for s in parts])
    index = build.pool.values[str(operand(node, "index").target)]
    return build.take(node.meta, joined, site.axis, places[index].numpy(), start)
