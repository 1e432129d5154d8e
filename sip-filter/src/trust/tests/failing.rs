//! Rows for wrong answers to challenges.
