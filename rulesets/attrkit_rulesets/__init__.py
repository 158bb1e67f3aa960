"""The rulesets that come with attrkit, one YAML file each."""

from attrkit.specs import RulesetSource

source = RulesetSource(__name__)
