"""medood from Python: what `import medood` offers, made of the parts below; it sits beside tasks and may use all but the command line."""
