//! The application's own resources, reached only through SQL functions in schema `tidings_app`, so that a DBA whose
//! tables look different replaces those functions and touches no Rust.

pub mod documents;
pub mod watched;
