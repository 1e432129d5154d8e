//! Rows for reports of PBXs and of the operator, trunks, limits and restarts.
