"""A plugin for an attrkit of long ago; importing it would fail the run that does."""

raise SystemExit("attrkit_outdated was imported")
