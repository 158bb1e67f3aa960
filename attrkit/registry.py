"""Find plugins through entry points, load each only when asked for, and keep the broken ones from hurting the rest."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from pluggy import PluginManager

from attrkit import hookspecs
from attrkit.errors import PluginUnavailable, UnknownName, UsageTypeError, did_you_mean, warn
from attrkit.installed import Metadata, Plugin, State, all_entry_points, own_version
from attrkit.parts import DesignSpec, EstimatorSpec, Part, PlacementSpec, ReplacementSpec, SegmenterSpec, SurrogateSpec
from attrkit.selection import Selection, selection
from attrkit.specs import Declared, MethodSpec, RulesetSource, RuleSpec
from attrkit.wrapping import WrapperSpec, listed

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Named = Literal["methods", "wrappers", "rules"] | Part
Kind = Named | Literal["rulesets"]
Spec = TypeVar("Spec", bound=Declared)
_KINDS: dict[Kind, type] = {
    "methods": MethodSpec,
    "wrappers": WrapperSpec,
    "rules": RuleSpec,
    "rulesets": RulesetSource,
    "replacements": ReplacementSpec,
    "segmenters": SegmenterSpec,
    "designs": DesignSpec,
    "estimators": EstimatorSpec,
    "surrogates": SurrogateSpec,
    "placements": PlacementSpec,
}
KINDS: tuple[Kind, ...] = tuple(_KINDS)
API = 1  # the version of the plugin API that this attrkit speaks; see docs/plugins_api.md
NAMED: tuple[Named, ...] = tuple(kind for kind in KINDS if kind != "rulesets")


class Registry:
    """Plugins by name. Reading names costs a scan of metadata; a plugin is imported when it is asked for.

    ``only`` and ``block`` hold fnmatch patterns over a plugin's name, ``distribution:name`` or package; they default to the
    comma-separated environment variables ATTRKIT_ONLY and ATTRKIT_BLOCK, and these to the lists ``only`` and ``block`` in
    ``[tool.attrkit]`` of the nearest ``pyproject.toml`` that has such a table, from the current folder upwards.

    Raises:
        UsageError: that table says something else.
    """

    def __init__(
        self, *, only: tuple[str, ...] | None = None, block: tuple[str, ...] | None = None, autoload: bool = True
    ) -> None:
        self._lock = threading.RLock()
        self.manager = PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.manager.hook.attrkit_configure.call_historic(kwargs={"registry": self})
        self.plugins: dict[str, Plugin] = {}
        self._whole: list[Plugin] = []  # of these, whose entry points name modules
        self._provided: dict[str, dict[Kind, list[Any]]] = {}  # by owner
        self._found: dict[tuple[Kind, str], Any] = {}  # what was looked up since that changed
        if autoload:
            self._scan(selection(only, block))

    # Finding: metadata only.

    def _scan(self, wanted: Selection) -> None:
        """Note each entry point; of several with one key the first, as an import would find it."""
        installed: dict[int, Metadata] = {}
        for target, api in all_entry_points():
            if (dist := installed.get(id(target.dist))) is None:
                dist = installed[id(target.dist)] = Metadata.of(target.dist)
            plugin = Plugin(target.name, dist.name, dist.version, target, dist.state, dist.reason, dist.error)
            if source := wanted.refusal(plugin.name, plugin.key, plugin.package):
                plugin.state, plugin.reason, plugin.error = State.BLOCKED, f"left out by {source}", None
            elif api > API and plugin.state is not State.BROKEN:
                plugin.state = State.INCOMPATIBLE
                plugin.reason = (
                    f"needs a newer attrkit, with version {api} of the plugin API; this is attrkit "
                    f"{own_version()} with version {API}; run: pip install --upgrade attrkit"
                )
            self.plugins.setdefault(plugin.key, plugin)
        self._whole = [plugin for plugin in self.plugins.values() if plugin.whole]

    def named(self, name: str) -> list[Plugin]:
        """The plugins called ``name`` (or exactly ``distribution:name``), blocked ones left out."""
        return [p for p in self.plugins.values() if name in (p.name, p.key) and p.state is not State.BLOCKED]

    # Loading.

    def register(self, plugin: object, name: str | None = None) -> None:
        """Register a plugin object without packaging: in notebooks, tests, applications. A name given again replaces it.

        Without ``name``, a declaration is known by its own, a module by its, and any other object by that of its class. A
        declaration replaces none of another kind.

        Raises:
            UsageTypeError: it declares nothing and implements no hook.
            PluginUnavailable: the name is that of an installed plugin, or it declares what another plugin declares already.
        """
        with self._lock:
            label = name or self._label(plugin)
            if label in self.plugins:
                raise PluginUnavailable(f"{label!r} is an installed plugin, which cannot be replaced; choose another name")
            previous = self._forget(label)
            try:
                self._admit(plugin, label)
                for declared in {d for kind in KINDS for d, _, owner in self._declared(kind) if owner == label}:
                    for installed in self.named(declared):
                        self.load(installed)  # else the clash would show when somebody asks for it
                self._refuse_clash(label)
            except BaseException:
                self._forget(label)
                if previous is not None:
                    self._admit(previous, label)
                raise

    def unregister(self, name: str) -> None:
        """Forget what was registered by hand under a name.

        Raises:
            UnknownName: nothing was.
        """
        with self._lock:
            if name in self.plugins or name not in self._provided:
                by_hand = sorted(self._provided.keys() - self.plugins.keys())
                raise UnknownName(f"nothing is registered by hand as {name!r}.{did_you_mean(name, by_hand)}")
            self._forget(name)

    def _label(self, plugin: object) -> str:
        """What a plugin is known by that came without a name."""
        if isinstance(plugin, Declared):
            holder = self.manager.get_plugin(plugin.name)
            kind, spec = next((kind, spec) for kind, spec in _KINDS.items() if isinstance(plugin, spec))
            own = f"{kind[:-1]} {plugin.name}"
            taken = holder is not None and not isinstance(holder, spec)
            return own if taken or self.manager.has_plugin(own) else plugin.name
        if isinstance(plugin, RulesetSource):
            return plugin.package
        return str(getattr(plugin, "name", None) or getattr(plugin, "__name__", None) or type(plugin).__qualname__)

    def _admit(self, plugin: object, label: str) -> None:
        """Register with the manager, or leave no trace: a misspelt hook or a name of attrkit's own is this plugin's fault."""
        if held := self.manager.get_name(plugin):
            raise PluginUnavailable(f"{_described(plugin)} is registered already, as {held!r}")
        self.manager.register(plugin, label)
        try:
            self.manager.check_pending()
            if not self.manager.get_hookcallers(plugin):
                raise UsageTypeError(f"{_described(plugin)} declares nothing: {_ADVICE}")  # noqa: TRY301
            self._provided[label] = {kind: list(self._asked(kind, label)) for kind in KINDS}
            self._found = {}
            for spec in self._provided[label]["methods"]:
                if find_spec(f"attrkit.{spec.name}"):
                    raise PluginUnavailable(f"method {spec.name!r} has the name of a module of attrkit; rename it")  # noqa: TRY301
        except BaseException:
            self._forget(label)
            raise

    def _asked(self, kind: Kind, label: str) -> Iterator[Any]:
        """What one plugin's hook declares. Raises PluginUnavailable when that is something else."""
        for impl in getattr(self.manager.hook, f"attrkit_{kind}").get_hookimpls():
            if impl.plugin_name != label:
                continue
            declared = impl.function()
            if not isinstance(declared, Iterable) or not all(isinstance(d, _KINDS[kind]) for d in declared):
                wanted = _KINDS[kind].__name__
                raise PluginUnavailable(f"its attrkit_{kind} must return a tuple of {wanted}, it returned {declared!r}")
            for each in declared:
                if isinstance(each, RulesetSource):
                    files(each.package)  # raises where there is no such package
                yield each

    def _forget(self, label: str) -> object | None:
        self._provided.pop(label, None)
        self._found = {}
        return self.manager.unregister(name=label) if self.manager.has_plugin(label) else None

    def _refuse_clash(self, label: str) -> None:
        for kind in KINDS:
            owners = {name: owner for name, _, owner in self._declared(kind) if owner != label}
            for name, _, owner in self._declared(kind):
                if owner == label and name in owners:
                    raise PluginUnavailable(f"{kind[:-1]} {name!r} is provided by {label} and by {owners[name]}; rename one")

    def load(self, plugin: Plugin) -> bool:
        """Import and register one plugin. A failure is recorded and warned about, never raised here."""
        with self._lock:
            if plugin.state is not State.FOUND:
                return plugin.state is State.LOADED
            try:
                self._admit(plugin.target.load(), plugin.key)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a plugin may raise anything when it is imported
                plugin.state, plugin.error, plugin.reason = State.BROKEN, error, f"{type(error).__name__}: {error}"
                warn(f"attrkit plugin {plugin.key} did not load: {plugin.reason}")
            else:
                plugin.state = State.LOADED
            return plugin.state is State.LOADED

    def load_all(self) -> None:
        """Load every plugin that can be."""
        for plugin in list(self.plugins.values()):
            self.load(plugin)

    def load_hooks(self) -> None:
        """Load what may take part in a run: plugins whose entry point names a module."""
        for plugin in self._whole:
            if plugin.state is State.FOUND:
                self.load(plugin)

    # Lookup.

    def _declared(self, kind: Kind) -> Iterator[tuple[str, Any, str]]:
        """Name, declaration and owner of everything of a kind that is loaded."""
        for owner, provided in self._provided.items():
            for declared in provided[kind]:
                yield getattr(declared, "name", None) or declared.package, declared, owner

    def _find(self, kind: Kind, name: str) -> Any:
        """The loaded declaration of that name; of several, the one whose entry point has the name too."""
        found = self._found  # another takes its place meanwhile where plugins come or go
        if (kind, name) not in found:
            found[kind, name] = self._sought(kind, name)
        return found[kind, name]

    def _sought(self, kind: Kind, name: str) -> Any:
        dist, _, bare = name.rpartition(":")
        every = [
            (d, owner) for found, d, owner in self._declared(kind) if found == bare and dist in ("", owner.partition(":")[0])
        ]
        entitled = [(d, owner) for d, owner in every if owner.rpartition(":")[2] == bare] or every
        if len(entitled) > 1:
            self._ambiguous(name, [owner for _, owner in entitled])
        return entitled[0][0] if entitled else None

    @staticmethod
    def _ambiguous(name: str, owners: list[str]) -> NoReturn:
        raise PluginUnavailable(
            f"{name!r} is provided by {' and by '.join(owners)}; ask for one by its distribution, like "
            f"'{owners[0].partition(':')[0]}:{name}', or set ATTRKIT_BLOCK to the other"
        )

    def find(self, kind: Named, name: str) -> Any:
        """The declaration called ``name``, or None; only plugins of that name are loaded."""
        if (found := self._found.get((kind, name))) is not None:
            return found
        for plugin in self.named(name):
            self.load(plugin)
        return self._find(kind, name)

    def get(self, kind: Named, name: str) -> Any:
        """The declaration called ``name`` or ``distribution:name``.

        Loads the plugin of that name; only if there is none are all the others loaded.

        Raises:
            UnknownName: nothing of that kind has the name.
            PluginUnavailable: the plugin is broken, incompatible, or one of several with that name.
        """
        if (found := self.find(kind, name)) is not None:
            return found
        for plugin in self.named(name):
            if plugin.state is not State.LOADED:
                raise PluginUnavailable(f"{plugin.key} is {plugin.state}: {plugin.reason}") from plugin.error
        self.load_all()
        if (found := self._find(kind, name)) is not None:
            return found
        known = sorted({n for n, _, _ in self._declared(kind)})
        blocked = next((p for p in self.plugins.values() if p.state is State.BLOCKED and name in (p.name, p.key)), None)
        reason = f" ({blocked.key} is {blocked.reason})" if blocked else ""
        raise UnknownName(f"no {kind[:-1]} {name!r}{reason}.{did_you_mean(name, known)} Known: {', '.join(known) or 'none'}")

    def method(self, name: str) -> MethodSpec:
        """The method called ``name``, or ``wrapper(method)``, ``wrapper(method,method)`` for a wrapper applied to some.

        See :meth:`get`.
        """
        outer, bracket, rest = name.partition("(")
        if bracket and rest.endswith(")"):
            return self.wrapper(outer).around(*map(self.method, listed(rest[:-1])))
        try:
            spec: MethodSpec = self.get("methods", name)
        except UnknownName:
            if (wrapper := self._find("wrappers", name)) is None:
                raise
            many = "methods" if wrapper.several else "a method"
            raise UnknownName(f"{name!r} is a wrapper: it takes {many}; ask for it as {wrapper.usage!r}") from None
        return _warned(spec)

    def wrapper(self, name: str) -> WrapperSpec:
        """The wrapper called ``name``; see :meth:`get`."""
        spec: WrapperSpec = self.get("wrappers", name)
        return _warned(spec)

    def rule(self, name: str) -> RuleSpec:
        """The rule called ``name``; see :meth:`get`."""
        spec: RuleSpec = self.get("rules", name)
        return _warned(spec)

    def all(self, kind: Named) -> dict[str, Any]:
        """Every declaration of a kind by name, loading every plugin; of several with one name, each by its full name."""
        self.load_all()
        found = sorted(self._declared(kind), key=lambda d: d[0])
        times = Counter(name for name, _, _ in found)
        return {name if times[name] == 1 else f"{owner.partition(':')[0]}:{name}": d for name, d, owner in found}

    def origin(self, declared: Declared) -> Plugin | None:
        """The plugin that a declaration came from; None for one that was registered by hand."""
        owners = (owner for kind in NAMED for _, found, owner in self._declared(kind) if found is declared)
        return self.plugins.get(next(owners, ""))

    def provides(self, plugin: Plugin) -> dict[str, list[str]]:
        """What a loaded plugin provides, by kind, and under ``hooks`` the hooks by which it takes part in a run."""
        found: dict[str, list[str]] = {
            kind: sorted(n for n, _, owner in self._declared(kind) if owner == plugin.key) for kind in KINDS
        }
        callers = self.manager.get_hookcallers(self.manager.get_plugin(plugin.key)) or ()
        declaring = {f"attrkit_{kind}" for kind in KINDS}
        found["hooks"] = sorted(caller.name for caller in callers if caller.name not in declaring)
        return {kind: names for kind, names in found.items() if names}

    def rulesets(self) -> dict[str, Traversable]:
        """The YAML file of every ruleset that a plugin ships, by name; those whose name is taken, by their full name."""
        found: dict[str, Traversable] = {}
        for dist, name, file in self._ruleset_files():
            found[name if name not in found else f"{dist}:{name}"] = file
        return found

    def ruleset(self, name: str) -> Traversable | None:
        """The file of a ruleset by ``name`` or ``distribution:name``; None where there is none."""
        dist, _, bare = name.rpartition(":")
        fitting = (file for owner, known, file in self._ruleset_files() if known == bare and dist in ("", owner))
        return next(fitting, None)

    def _ruleset_files(self) -> Iterator[tuple[str, str, Traversable]]:
        """Distribution, name and file of each ruleset, attrkit's own first."""
        self.load_all()
        for _, source, owner in sorted(self._declared("rulesets"), key=lambda d: not d[2].startswith("attrkit:")):
            for file in sorted(files(source.package).iterdir(), key=lambda f: f.name):
                if file.name.endswith(".yaml"):
                    yield owner.partition(":")[0], file.name.removesuffix(".yaml"), file


_ADVICE = "decorate its function with attrkit.method, attrkit.rule or the like, or its hooks with attrkit.hookimpl"


def _described(plugin: object) -> str:
    name = getattr(plugin, "__qualname__", None) or getattr(plugin, "__name__", None)
    return f"{type(plugin).__name__} {name!r}" if name else f"an object of {type(plugin).__qualname__}"


def _warned(spec: Spec) -> Spec:
    if (d := spec.deprecated) is not None:
        message = f"{spec.name} is deprecated since {d.since} and goes in {d.removal}; use {d.use}"
        warnings.warn(message, DeprecationWarning, stacklevel=3)
    return spec


registry = Registry()
