VERSION="x"
class Missing(Exception): pass
