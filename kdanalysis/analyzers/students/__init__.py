"""A student against its teacher."""
