"""The rulesets that come with attrkit, one YAML file each."""

from attrkit import RulesetSource

source = RulesetSource(__name__)
