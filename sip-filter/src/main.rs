//! `sip-filter`: see `sip-filter --help`.

use std::{
    panic,
    process::{self, ExitCode},
};

fn main() -> ExitCode {
    end_by_panic();
    sip_filter::cli::main()
}

/// Has a panic on any thread end the process, so that it is started anew rather than left without that thread.
///
/// Not by `panic = "abort"` in the profile: test programs have to unwind, and all dependencies would be compiled twice.
fn end_by_panic() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |fault| {
        print(fault);
        process::abort();
    }));
}
