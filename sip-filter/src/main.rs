//! `sip-filter`: see `sip-filter --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sip_filter::cli::main()
}
