def as_text(content): return ""
def write(content): pass
