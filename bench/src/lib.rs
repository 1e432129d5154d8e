//! Measures what the filter costs, beside bare floors and beside what operators have today, all in one run on one machine.
//!
//! It measures and reports; it is part of no product, and nothing depends on it but tests of budgets.

pub mod budget;
pub mod changes;
pub mod contenders;
pub mod costs;
pub mod dialogue;
pub mod filter;
pub mod floors;
pub mod generator;
pub mod goals;
pub mod ground;
pub mod handed;
pub mod inline;
pub mod machine;
pub mod path;
pub mod plan;
pub mod plot;
pub mod readme;
pub mod report;
pub mod results;
pub mod traffic;
