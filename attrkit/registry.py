"""Find plugins through entry points, load each only when asked for, and keep the broken ones from hurting the rest."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint, entry_points, version
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs
from packaging.requirements import Requirement
from pluggy import PluginManager

from attrkit import hookspecs
from attrkit.errors import AttrkitWarning, PluginUnavailable, UnknownName, did_you_mean
from attrkit.specs import Declared, MethodSpec, RuleSpec

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Kind = Literal["methods", "rules", "rulesets"]
KINDS: tuple[Kind, ...] = ("methods", "rules", "rulesets")
Spec = TypeVar("Spec", bound=Declared)


class State(StrEnum):
    """What became of a plugin."""

    FOUND = "found"  # metadata only; nothing imported
    LOADED = "loaded"
    BROKEN = "broken"
    BLOCKED = "blocked"
    INCOMPATIBLE = "incompatible"


@attrs.define
class Plugin:
    """One entry point and what became of it."""

    name: str
    dist: str
    version: str
    target: EntryPoint = attrs.field(repr=False)
    state: State = State.FOUND
    reason: str = ""
    error: BaseException | None = attrs.field(default=None, repr=False)

    @property
    def key(self) -> str:
        """``distribution:name``, which is unique."""
        return f"{self.dist}:{self.name}"

    @property
    def package(self) -> str:
        """The top-level package that the entry point names."""
        return self.target.module.partition(".")[0]

    def matches(self, patterns: tuple[str, ...]) -> bool:
        """Whether a pattern covers the name, the key or the package."""
        return any(fnmatchcase(label, p) for p in patterns for label in (self.name, self.key, self.package))


def _patterns(variable: str) -> tuple[str, ...] | None:
    text = os.environ.get(variable)
    return None if text is None else tuple(p.strip() for p in text.split(",") if p.strip())


def _clash(requires: list[str] | None) -> str:
    """The first requirement on attrkit that this version does not meet."""
    for text in requires or ():
        wanted = Requirement(text)
        applies = wanted.name == hookspecs.PROJECT and (wanted.marker is None or wanted.marker.evaluate({"extra": ""}))
        if applies and not wanted.specifier.contains(version(hookspecs.PROJECT), prereleases=True):
            return text
    return ""


class Registry:
    """Plugins by name. Reading names costs a scan of metadata; a plugin is imported when it is asked for.

    ``only`` and ``block`` hold fnmatch patterns over a plugin's name, ``distribution:name`` or package; they default to the
    comma-separated environment variables ATTRKIT_ONLY and ATTRKIT_BLOCK.
    """

    def __init__(
        self, *, only: tuple[str, ...] | None = None, block: tuple[str, ...] | None = None, autoload: bool = True
    ) -> None:
        self._only = _patterns("ATTRKIT_ONLY") if only is None else only
        self._block = (_patterns("ATTRKIT_BLOCK") or ()) if block is None else block
        self._lock = threading.RLock()
        self.manager = PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.manager.hook.attrkit_configure.call_historic(kwargs={"registry": self})
        self.plugins: dict[str, Plugin] = {}
        if autoload:
            for target in entry_points(group=hookspecs.PROJECT):
                self._note(target)

    # Finding: metadata only.

    def _note(self, target: EntryPoint) -> None:
        dist = target.dist
        plugin = Plugin(target.name, dist.name if dist else "?", dist.version if dist else "?", target)
        if plugin.matches(self._block) or (self._only is not None and not plugin.matches(self._only)):
            chosen_by = "ATTRKIT_BLOCK or block=" if plugin.matches(self._block) else "ATTRKIT_ONLY or only="
            plugin.state, plugin.reason = State.BLOCKED, f"left out by {chosen_by}"
        elif clash := _clash(dist.requires if dist else None):
            plugin.state, plugin.reason = State.INCOMPATIBLE, f"needs {clash}, this is attrkit {version('attrkit')}"
        self.plugins.setdefault(plugin.key, plugin)  # the first on sys.path, as an import would find it

    def named(self, name: str) -> list[Plugin]:
        """The plugins called ``name`` (or exactly ``distribution:name``), blocked ones left out."""
        return [p for p in self.plugins.values() if name in (p.name, p.key) and p.state is not State.BLOCKED]

    # Loading.

    def register(self, plugin: object, name: str | None = None) -> None:
        """Register a plugin object without packaging: in notebooks, tests, applications. A name given again replaces it."""
        label = name or getattr(plugin, "name", None) or getattr(plugin, "__name__", None) or repr(plugin)
        with self._lock:
            previous = self.manager.unregister(name=label) if self.manager.has_plugin(label) else None
            try:
                self._admit(plugin, label)
            except Exception:
                if previous is not None:
                    self.manager.register(previous, label)
                raise

    def _admit(self, plugin: object, label: str) -> None:
        """Register with the manager, or leave no trace: a misspelt hook or a clashing name is this plugin's fault."""
        self.manager.register(plugin, label)
        try:
            self.manager.check_pending()
            for kind in KINDS:
                provided = {n for n, _, owner in self._declared(kind) if owner == label}
                others = {n: owner for n, _, owner in self._declared(kind) if owner != label}
                if clash := sorted(provided & others.keys()):
                    raise PluginUnavailable(  # noqa: TRY301: the handler below must see it
                        f"{kind[:-1]} {clash[0]!r} is provided by {label} and by {others[clash[0]]}; set ATTRKIT_BLOCK to one of them"
                    )
                if kind == "methods" and (shadow := next((n for n in provided if find_spec(f"attrkit.{n}")), None)):
                    raise PluginUnavailable(f"method {shadow!r} has the name of a module of attrkit; rename it")  # noqa: TRY301
        except BaseException:
            self.manager.unregister(name=label)
            raise

    def load(self, plugin: Plugin) -> bool:
        """Import and register one plugin. A failure is recorded and warned about, never raised here."""
        with self._lock:
            if plugin.state is not State.FOUND:
                return plugin.state is State.LOADED
            try:
                self._admit(plugin.target.load(), plugin.key)
            except Exception as error:  # noqa: BLE001: a plugin may raise anything when it is imported
                plugin.state, plugin.error, plugin.reason = State.BROKEN, error, f"{type(error).__name__}: {error}"
                warnings.warn(f"attrkit plugin {plugin.key} did not load: {plugin.reason}", AttrkitWarning, stacklevel=2)
            else:
                plugin.state = State.LOADED
            return plugin.state is State.LOADED

    def load_all(self) -> None:
        """Load every plugin that can be."""
        for plugin in list(self.plugins.values()):
            self.load(plugin)

    # Lookup.

    def _declared(self, kind: Kind) -> Iterator[tuple[str, Any, str]]:
        """Name, declaration and owner of everything of a kind that is loaded."""
        for impl in getattr(self.manager.hook, f"attrkit_{kind}").get_hookimpls():
            for declared in impl.function() or ():
                yield getattr(declared, "name", None) or declared.package, declared, impl.plugin_name

    def _find(self, kind: Kind, name: str) -> Any:
        dist, _, bare = name.rpartition(":")
        for found, declared, owner in self._declared(kind):
            if found == bare and (not dist or owner.partition(":")[0] == dist):
                return declared
        return None

    def get(self, kind: Literal["methods", "rules"], name: str) -> Any:
        """The declaration called ``name`` or ``distribution:name``.

        Loads the plugin of that name; only if there is none are all the others loaded.

        Raises:
            UnknownName: nothing of that kind has the name.
            PluginUnavailable: the plugin is broken, incompatible, or one of several with that name.
        """
        candidates = self.named(name)
        if len(candidates) > 1:
            raise PluginUnavailable(
                f"{name!r} is provided by {' and by '.join(p.key for p in candidates)}; ask for one by that full name, "
                "or set ATTRKIT_BLOCK to the other"
            )
        if (found := self._find(kind, name)) is not None:
            return found
        for plugin in candidates:
            if not self.load(plugin):
                raise PluginUnavailable(f"{plugin.key} is {plugin.state}: {plugin.reason}") from plugin.error
        if (found := self._find(kind, name)) is not None:
            return found
        self.load_all()
        if (found := self._find(kind, name)) is not None:
            return found
        known = sorted({n for n, _, _ in self._declared(kind)})
        blocked = next((p for p in self.plugins.values() if p.state is State.BLOCKED and name in (p.name, p.key)), None)
        reason = f" ({blocked.key} is {blocked.reason})" if blocked else ""
        raise UnknownName(f"no {kind[:-1]} {name!r}{reason}.{did_you_mean(name, known)} Known: {', '.join(known) or 'none'}")

    def method(self, name: str) -> MethodSpec:
        """The method called ``name``; see :meth:`get`."""
        spec: MethodSpec = self.get("methods", name)
        return _warned(spec)

    def rule(self, name: str) -> RuleSpec:
        """The rule called ``name``; see :meth:`get`."""
        spec: RuleSpec = self.get("rules", name)
        return _warned(spec)

    def all(self, kind: Literal["methods", "rules"]) -> dict[str, Any]:
        """Every declaration of a kind by name; loads every plugin."""
        self.load_all()
        return {name: declared for name, declared, _ in sorted(self._declared(kind), key=lambda d: d[0])}

    def provides(self, plugin: Plugin) -> dict[Kind, list[str]]:
        """What a loaded plugin provides, by kind."""
        found = {kind: sorted(n for n, _, owner in self._declared(kind) if owner == plugin.key) for kind in KINDS}
        return {kind: names for kind, names in found.items() if names}

    def rulesets(self) -> dict[str, Traversable]:
        """The YAML file of every ruleset that a plugin ships, by name. The shipped ones keep their names."""
        self.load_all()
        found: dict[str, Traversable] = {}
        for _, source, owner in self._declared("rulesets"):
            for file in sorted(files(source.package).iterdir(), key=lambda f: f.name):
                if file.name.endswith(".yaml"):
                    name = file.name.removesuffix(".yaml")
                    found[name if name not in found else f"{owner.partition(':')[0]}:{name}"] = file
        return found


def _warned(spec: Spec) -> Spec:
    if (d := spec.deprecated) is not None:
        message = f"{spec.name} is deprecated since {d.since} and goes in {d.removal}; use {d.use}"
        warnings.warn(message, DeprecationWarning, stacklevel=3)
    return spec


registry = Registry()
