"""Wrappers that ask methods several times: at other seeds, of other targets, or several methods of the same."""
