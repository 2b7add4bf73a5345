"""Write the generated pages."""

from scripts.docs.pages import files

for path, content in files().items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
