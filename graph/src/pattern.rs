//! Path patterns: the wildcards of COPY sources and the patterns of ignore files.
