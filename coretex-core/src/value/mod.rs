//! JSON values, paths, expressions, templates and schemas.
