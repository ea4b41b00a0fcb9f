"""The functions of the stages in Python, what they take and what they return. `import affectkit` offers them."""
