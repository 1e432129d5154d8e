//! Random events beside naive models.
