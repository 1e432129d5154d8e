//! Compiles the kernel program and puts it at `$OUT_DIR/sip-filter`, where the controller embeds it from.
//! It installs nothing: where a tool is missing it names the remedy and stops.

#[path = "build/kernel_program.rs"]
mod kernel_program;
#[path = "build/toolchain.rs"]
mod toolchain;

fn main() {
    kernel_program::build("sip-filter");
}
