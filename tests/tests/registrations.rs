//! Trust that follows registrations, end to end: a real registrar, real phones, real attackers.
//!
//! It sees the filter only as operators and peers do.

mod phones;
