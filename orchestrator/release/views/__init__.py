"""Views of a catalog: the layouts that existing clients know, each made from the catalog alone."""
