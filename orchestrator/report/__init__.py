"""A static site about the stages of a farm: how old what users can download is, and its builds."""
